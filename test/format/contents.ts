/** One text of all that a file holds, so that two readings can be compared: values, tensors with their bytes, records, findings. */
import { inspect } from 'node:util'
import {
  elementCount,
  readTensorBytes,
  readTorchFile,
  TensorRecord,
  verifyStorages,
  type ReadOptions,
} from '../../src/format/index.js'
import { listTensors } from '../../src/format/walk.js'

/** Tensors of more elements than this are described without their bytes (a stride of 0 makes them of any size). */
const maxElements = 1 << 20

/** What a file holds. */
export interface Contents {
  /** All of it; equal texts mean equal contents. */
  readonly text: string
  /** Ids and messages of the findings. */
  readonly findings: ReadonlySet<string>
}

/** Reads everything and checks every CRC-32; failures reject as the reader's do. */
export async function contentsOf(path: string, options: ReadOptions = {}): Promise<Contents> {
  const file = await readTorchFile(path, options)
  await verifyStorages(file)
  const bytes: string[] = []
  for (const { record } of listTensors(file.value)) {
    if (!(record instanceof TensorRecord) || elementCount(record.sizes) > maxElements) continue
    bytes.push(Buffer.from(await readTensorBytes(file, record as TensorRecord)).toString('hex'))
  }
  const { identity, path: place, ...facts } = file
  void [identity, place]
  const everything = { depth: Infinity, maxArrayLength: Infinity, maxStringLength: Infinity, breakLength: Infinity }
  return {
    text: `${inspect(facts, everything).replace(state, '')}\n${bytes.join('\n')}`,
    findings: new Set(file.findings.map(({ id, message }) => `${id}: ${message}`)),
  }
}

/** Which state of which file the bytes are taken from is no part of what it holds. */
const state = /\b(?:id|path): '[^']*'|\binode: \d+n|\bmodifiedNs: \d+n/g
