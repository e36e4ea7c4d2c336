/** Files to start from where there is no Python: those that we write ourselves. */
import { mkdirSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { planTorchFile, tensorFromBytes } from '../dist/src/format/index.js'
import { render } from '../dist/test/format/fixtures.js'

/** Writes a checkpoint and a safetensors file into a folder. */
export function writeOwnCorpus(folder) {
  const weight = tensorFromBytes({ dtype: 'float32', sizes: [2, 3], bytes: new Uint8Array(24).fill(1) })
  const value = {
    ...{ epoch: 3, phase: 1, version: '1.0', config: { hidden: 3 }, validation_loss: 0.25 },
    model_state_dict: new Map([
      ['a.weight', weight],
      ['tied', weight],
    ]),
    optimizer_state_dict: {
      state: new Map([[0, { step: 1, exp_avg: weight }]]),
      param_groups: [{ lr: 0.1, params: [0] }],
    },
  }
  mkdirSync(join(folder, 'zip'), { recursive: true })
  mkdirSync(join(folder, 'safetensors'))
  writeFileSync(join(folder, 'zip', 'checkpoint.pth'), render(planTorchFile(value, { topFolder: 'checkpoint' }).parts))
  const header = Buffer.from(JSON.stringify({ a: { dtype: 'F32', shape: [2, 3], data_offsets: [0, 24] } }).padEnd(64))
  const length = Buffer.alloc(8)
  length.writeBigUInt64LE(BigInt(header.length))
  writeFileSync(join(folder, 'safetensors', 'model.safetensors'), Buffer.concat([length, header, Buffer.alloc(24, 1)]))
}
