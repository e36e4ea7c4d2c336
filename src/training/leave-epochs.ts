/** Closing the data of a run, whatever ended it. */
import type { BatchFeed } from './feed.js'

/** Ends what feeds have under way, all of them even where one fails; then throws what the first failure was. */
export async function leaveEpochs(feeds: readonly Pick<BatchFeed, 'leaveEpoch'>[]): Promise<void> {
  const left = await Promise.allSettled(feeds.map((feed) => feed.leaveEpoch()))
  const failed = left.find((one) => one.status === 'rejected')
  if (failed !== undefined) throw failed.reason as Error
}

/** {@link leaveEpochs} after a failure, which counts: what fails now is a warning beside it. Never rejects. */
export async function leaveAfterFailure(feeds: readonly Pick<BatchFeed, 'leaveEpoch'>[]): Promise<void> {
  await leaveEpochs(feeds).catch((failure: Error) => process.emitWarning(failure.message, 'TorchkeepWarning'))
}
