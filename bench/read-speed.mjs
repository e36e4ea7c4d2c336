// How fast a checkpoint is read, checked and judged in this process, which the caller may tie to one core.
// usage: node read-speed.mjs read|crc|validate PATH            ->  one JSON line with seconds, processor seconds (of all threads) and bytes
//        node read-speed.mjs tensors PATH COUNT                ->  one JSON line with microseconds a tensor: of the first reading, and the best of three
import { open, stat } from 'node:fs/promises'
import { CheckpointValidator } from 'torchkeep/checkpoint'
import { readTorchFile, scanStorages } from 'torchkeep/format'

const [what, path, count] = process.argv.slice(2)

/** Reads a file from begin to end by the pieces of scanStorages, the next being under way while one is there. */
async function readAlone() {
  const pieceBytes = 2 << 20
  const buffers = [Buffer.allocUnsafeSlow(pieceBytes), Buffer.allocUnsafeSlow(pieceBytes)]
  const file = await open(path)
  const start = (index) => file.read(buffers[index % 2], 0, pieceBytes, index * pieceBytes)
  for (let index = 0, next = start(0); ; index++) {
    const { bytesRead } = await next
    if (bytesRead === 0) break
    next = start(index + 1)
  }
  await file.close()
}

const acts = {
  read: readAlone,
  async crc() {
    const file = await readTorchFile(path)
    await scanStorages(file, {
      onStorage: ({ matches }) => {
        if (matches !== true) throw new Error('a CRC-32 does not match')
      },
    })
  },
  async validate() {
    const { valid } = await CheckpointValidator.validateCheckpointFile(path)
    if (!valid) throw new Error('the file is not valid')
  },
}

async function secondsOf(act) {
  const start = performance.now()
  await act()
  return (performance.now() - start) / 1000
}

if (what === 'tensors') {
  const rounds = []
  for (let round = 0; round < 4; round++)
    rounds.push(((await secondsOf(() => readTorchFile(path))) / Number(count)) * 1e6)
  console.log(JSON.stringify({ first: rounds[0], best: Math.min(...rounds) }))
} else {
  const { size: sizeBytes } = await stat(path)
  const before = process.cpuUsage()
  const seconds = await secondsOf(acts[what])
  const { user, system } = process.cpuUsage(before)
  console.log(JSON.stringify({ sizeBytes, seconds, cpuSeconds: (user + system) / 1e6 }))
}
