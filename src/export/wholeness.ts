/** No damaged byte leaves in an export: what is exported has the CRC-32 that its file holds. */
import { checkBytes } from '../checkpoint/check-bytes.js'
import type { NormalizedCheckpoint } from '../checkpoint/normalize.js'
import { TorchkeepError } from '../format/errors.js'
import type { TorchFile } from '../format/read.js'
import { scanStorages } from '../format/scan.js'
import type { AnyTensorRecord, ByteOrigin } from '../format/tensor-record.js'
import { strided } from '../format/walk.js'

/** How {@link checkWholeness} is watched and ended. */
export interface WholenessOptions {
  signal?: AbortSignal
  onProgress?: (progress: { what: string; doneBytes: number; totalBytes: number }) => void
}

/** Reads every byte once: the CRC-32 of what is exported must hold; values of the model that are not finite are told. */
export async function checkWholeness(
  file: TorchFile,
  checkpoint: NormalizedCheckpoint,
  exported: ReadonlyMap<string, AnyTensorRecord>,
  others: readonly AnyTensorRecord<ByteOrigin>[],
  { signal, onProgress }: WholenessOptions,
  gaps: string[],
): Promise<void> {
  const used = new Set(
    [...exported.values(), ...others].flatMap((record) => strided(record).map(({ storage }) => storage.recordName)),
  )
  const findings = await checkBytes(file, checkpoint, {
    ...(signal === undefined ? {} : { signal }),
    progress: (doneBytes, totalBytes) => onProgress?.({ what: 'checking', doneBytes, totalBytes }),
  })
  for (const { id, message, subject } of findings) {
    if (id === 'record.crc' && used.has(subject ?? null)) throw damaged(file.path, message, subject ?? '')
    if (id === 'record.crc') gaps.push(`A part that is not exported is damaged: ${message}.`)
    const name = (subject ?? '').replace(/^state_dict\./, '')
    if ((id === 'tensor.nonfinite' || id === 'tensor.nan_buffer') && exported.has(name)) gaps.push(`${message}.`)
  }
}

/**
 * The same for some tensors of a file, without looking at values.
 *
 * @throws TorchkeepError `ERR_CHECKPOINT_CORRUPT` naming the record.
 */
export async function requireWhole({ path, storages }: TorchFile, records: readonly AnyTensorRecord[]): Promise<void> {
  const used = new Set(records.flatMap((record) => strided(record).map(({ storage }) => storage.id)))
  await scanStorages(
    { storages: storages.filter(({ id }) => used.has(id)) },
    {
      onStorage: ({ storage: { recordName, id }, matches }) => {
        const name = recordName ?? id
        if (matches === false) throw damaged(path, `record ${name}: its bytes were changed`, name)
      },
    },
  )
}

function damaged(path: string, message: string, subject: string): TorchkeepError {
  return new TorchkeepError('ERR_CHECKPOINT_CORRUPT', `${path}: ${message}`, {
    finding: 'record.crc',
    subject,
    suggestions: [`torchkeep recover ${path} saves what is left`, 'export another checkpoint of the run'],
  })
}
