/** Every byte of the zip files that we write is protected: each change is detected or changes nothing that the file says. */
import assert from 'node:assert/strict'
import {
  OrderedDict,
  planTorchFile,
  Size,
  tensorFromBytes,
  TorchDType,
  Tuple,
  type DTypeName,
} from '../../src/format/index.js'
import { render, soundFile } from './fixtures.js'
import { cutEverywhere, flipEveryByte } from './flip-proof.js'

const bytesOf = (count: number) => Uint8Array.from({ length: count }, (_, index) => (index * 37 + 11) & 0xff)
const tensorOf = (dtype: DTypeName, sizes: number[], sizeBytes: number) =>
  tensorFromBytes({ dtype, sizes, bytes: bytesOf(sizeBytes) })

/** A small training checkpoint: several dtypes, an empty tensor, nested values, attributes. */
function checkpoint(): Buffer {
  const model = new OrderedDict<string, unknown>([
    ['weight', tensorOf('float32', [2, 3], 24)],
    ['bias', tensorOf('bfloat16', [3], 6)],
    ['mask', tensorOf('bool', [0], 0)],
  ])
  model.metadata = new OrderedDict([['', new Map([['version', 1]])]])
  const value = {
    model_state_dict: model,
    optimizer_state_dict: {
      state: new Map([[0, { step: tensorOf('float32', [], 4) }]]),
      param_groups: [{ params: [0] }],
    },
    rng: tensorOf('uint8', [5], 5),
    config: { lr: 1e-3, betas: new Tuple([0.9, 0.999]), size: new Size([2, 3]), dtype: TorchDType.of('float16') },
    epoch: 3,
  }
  return render(planTorchFile<Uint8Array>(value, { topFolder: 'checkpoint' }).parts)
}

const files: readonly (readonly [string, Buffer])[] = [
  ['a few tensors', soundFile()],
  ['a training checkpoint', checkpoint()],
]

describe('format: changes of single bytes in zip files', () => {
  for (const [title, file] of files) {
    it(`are detected or harmless in ${title} of ${file.length} bytes`, async () => {
      const { silent, refused, harmless } = await flipEveryByte(file)
      assert.deepEqual(silent, [])
      assert(refused > harmless, `${refused} refused, ${harmless} harmless`)
    })

    it(`cuts of ${title} are detected at every length`, async () => {
      const { silent, harmless, reported, refused } = await cutEverywhere(file)
      assert.deepEqual([silent, harmless, reported, refused], [[], 0, 0, file.length])
    })
  }
})
