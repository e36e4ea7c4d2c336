// The demo's second chapter: what to do when a checkpoint came to harm. All of it is `torchkeep/checkpoint`, which needs no LibTorch; it takes about a second.
import { closeSync, copyFileSync, mkdirSync, openSync, statSync, truncateSync, writeSync } from 'node:fs'
import { basename, join, relative } from 'node:path'
import { CheckpointManager, CheckpointRecovery, CheckpointValidator, compareCheckpoints } from 'torchkeep/checkpoint'
import { listTensors, readStorageBytes, readTorchFile } from 'torchkeep/format'

/** Flips one bit of the model's largest tensor, as a bad disk does, and cuts the last tenth off, as a machine does that goes down while it writes. */
async function damage(path) {
  const file = await readTorchFile(path)
  const tensors = listTensors(file.value.get('model_state_dict')).map(({ record }) => record)
  const { storage } = tensors.reduce((a, b) => (b.storage.sizeBytes > a.storage.sizeBytes ? b : a))
  const byte = (await readStorageBytes(file, storage))[2]
  const descriptor = openSync(path, 'r+')
  writeSync(descriptor, Buffer.of(byte ^ 0x10), 0, 1, storage.source.offsetBytes + 2)
  closeSync(descriptor)
  truncateSync(path, Math.floor(statSync(path).size * 0.9))
}

/** A line that explains a step, and what came of it. */
function print(title, lines) {
  const shown = lines.length <= 6 ? lines : [...lines.slice(0, 5), `... and ${lines.length - 5} more`]
  console.log([`\n${title}`, ...shown.map((line) => `  ${line}`)].join('\n'))
}

/**
 * Damages the copy of a checkpoint, judges it, saves what can be saved, compares that with the original and asks what a clean-up would remove.
 * @param checkpoint path of a sound checkpoint of a run; it is only read.
 * @param folder where the copies go; taken for a checkpoint folder.
 * @returns what each step gave.
 */
export async function rescue(checkpoint, folder) {
  mkdirSync(join(folder, 'regular'))
  const sound = join(folder, 'latest.pth')
  const damaged = join(folder, 'regular', basename(checkpoint))
  for (const copy of [sound, damaged]) copyFileSync(checkpoint, copy)
  await damage(damaged)
  print('damage a copy of a checkpoint: one bit of its largest tensor flipped, its last tenth cut off', [
    relative(folder, damaged),
  ])

  const verdict = await CheckpointValidator.validateCheckpointFile(damaged)
  print(
    'validate it: every byte, key and value is looked at',
    verdict.errors.map(({ id, message }) => `${id}: ${message}`),
  )

  const recovery = await new CheckpointRecovery(folder).attemptRecovery(damaged)
  const { saved, total } = recovery.tensors
  print('recover it: what is there goes into a new file, which says what was done to it', [
    `${saved} of ${total} tensors saved in ${relative(folder, recovery.recoveredPath)}`,
    ...recovery.damaged.map((text) => `damaged: ${text}`),
    ...recovery.lost.map((text) => `lost: ${text}`),
  ])

  const comparison = await compareCheckpoints(sound, recovery.recoveredPath)
  const { model, optimizer } = comparison
  print('compare it with the original: all that was not damaged or lost has the same bits', [
    `model: ${model.numIdenticalTensors} of ${model.numTensors} tensors identical`,
    ...model.tensors.map(
      ({ name, numElements, figures }) =>
        `${name}: ${figures.differing} of ${numElements} elements differs, by ${figures.maxAbs.toPrecision(3)}`,
    ),
    `optimizer: ${optimizer.numIdenticalTensors} of ${optimizer.numTensors} tensors identical, ${optimizer.tensorsOnlyInA.length} missing`,
  ])

  const cleanup = await new CheckpointManager(folder).cleanupInvalidCheckpoints()
  print(
    'ask what a clean-up would remove: a dry run, nothing goes without confirmation',
    cleanup.plan.map(({ path, keep, reason }) => `${keep ? 'stays' : 'goes '} ${relative(folder, path)}: ${reason}`),
  )
  return { verdict, recovery, comparison, cleanup }
}
