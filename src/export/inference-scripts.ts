/** The programs of an inference export. They run as they are, from any folder, and check the files first. */
import type { ExportDType } from './types.js'

/** What the scripts are told. */
export interface ScriptFacts {
  name: string
  /** `torch.autocast` that the model has to run under. */
  autocast: 'bfloat16' | null
  threads: number
  dtype: ExportDType | null
}

const checkFilesPython = `
def check_files():
    """Compares every file with SHA256SUMS."""
    for line in (folder / "SHA256SUMS").read_text().splitlines():
        expected, name = line.split("  ", 1)
        digest = hashlib.sha256()
        with open(folder / name, "rb") as file:
            while chunk := file.read(1 << 20):
                digest.update(chunk)
        if digest.hexdigest() != expected:
            sys.exit(f"{name} is not what was exported: SHA-256 {digest.hexdigest()}, expected {expected}")
`

const checkFilesNode = `
/** Compares every file with SHA256SUMS. */
async function checkFiles() {
  for (const line of readFileSync(join(folder, 'SHA256SUMS'), 'utf8').trim().split('\\n')) {
    const [expected, name] = line.split('  ')
    const hash = createHash('sha256')
    for await (const chunk of createReadStream(join(folder, name))) hash.update(chunk)
    const found = hash.digest('hex')
    if (found !== expected) throw new Error(\`\${name} is not what was exported: SHA-256 \${found}, expected \${expected}\`)
  }
}
`

/** `inference.py`: needs torch only. */
export function inferencePython({ name, autocast, threads }: ScriptFacts): string {
  const call = autocast === null ? 'model(*inputs)' : 'run(model, inputs)'
  const run =
    autocast === null
      ? ''
      : `

def run(model, inputs):
    # The model was trained under autocast, and its validation ran under it.
    with torch.autocast("cpu", dtype=torch.${autocast}):
        return model(*inputs)
`
  return `"""Runs ${name}.

python inference.py              runs the stored sample and compares the outputs with the stored ones
python inference.py INPUTS.pth   runs a list of tensors (or one tensor) saved with torch.save, and prints the outputs
"""
import hashlib
import sys
from pathlib import Path

import torch

folder = Path(__file__).resolve().parent

${checkFilesPython}
${run}
def main():
    check_files()
    torch.set_num_threads(${threads})  # sums are added up in another order with more threads
    torch.backends.mha.set_fastpath_enabled(False)  # attention's fast path rounds otherwise
    model = torch.export.load(str(folder / "model.pt2")).module()
    sample = torch.load(folder / "sample.pth", weights_only=True)
    inputs = sample["inputs"]
    if len(sys.argv) > 1:
        inputs = torch.load(sys.argv[1], weights_only=True)
        inputs = [inputs] if isinstance(inputs, torch.Tensor) else inputs
    with torch.no_grad():
        outputs = ${call}
    outputs = [outputs] if isinstance(outputs, torch.Tensor) else list(outputs)
    if len(sys.argv) > 1:
        print(*outputs, sep="\\n")
        return
    for index, (found, stored) in enumerate(zip(outputs, sample["outputs"], strict=True)):
        compare(index, found, stored)


def compare(index, found, stored):
    label = f"output {index}: {str(found.dtype).removeprefix('torch.')} {list(found.shape)}"
    if found.dtype != stored.dtype or found.shape != stored.shape:
        sys.exit(f"{label}, stored is {stored.dtype} {list(stored.shape)}")
    if torch.equal(as_bytes(found), as_bytes(stored)):
        print(f"{label}, equal to the stored one bit for bit")
        return
    difference = (found.double() - stored.double()).abs().max().item()
    if not torch.allclose(found.double(), stored.double(), rtol=1e-4, atol=1e-5, equal_nan=True):
        sys.exit(f"{label}, differs from the stored one by up to {difference}")
    print(f"{label}, differs from the stored one by up to {difference}: another processor or version rounds otherwise")


def as_bytes(tensor):
    return tensor.contiguous().reshape(-1).view(torch.uint8)


if __name__ == "__main__":
    main()
`.replace(/\n{4,}/g, '\n\n\n')
}

/** `inference.mjs`: needs torchkeep with LibTorch. */
export function inferenceNode({ name, threads }: ScriptFacts): string {
  return `/**
 * Runs ${name}.
 *
 * node inference.mjs              runs the stored sample and compares the outputs with the stored ones
 * node inference.mjs INPUTS.pth   runs a list of tensors (or one tensor) saved with torch.save, and prints the outputs
 */
import { createHash } from 'node:crypto'
import { createReadStream, readFileSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { load, loadForInference } from 'torchkeep'

const folder = dirname(fileURLToPath(import.meta.url))
${checkFilesNode}
function compare(index, found, stored) {
  const label = \`output \${index}: \${found.dtype} [\${found.shape}]\`
  if (found.dtype !== stored.dtype || String(found.shape) !== String(stored.shape))
    throw new Error(\`\${label}, stored is \${stored.dtype} [\${stored.shape}]\`)
  const [left, right] = [found, stored].map((tensor) => tensor.contiguous().data())
  const bytes = (data) => Buffer.from(data.buffer, data.byteOffset, data.byteLength)
  if (bytes(left).equals(bytes(right))) return console.log(\`\${label}, equal to the stored one bit for bit\`)
  const values = [found, stored].map((tensor) => tensor.to('float64').contiguous().data())
  let difference = 0
  let isClose = true
  for (let at = 0; at < values[0].length; at++) {
    const [a, b] = [values[0][at], values[1][at]]
    if (Object.is(a, b)) continue
    difference = Math.max(difference, Math.abs(a - b))
    isClose &&= Math.abs(a - b) <= 1e-5 + 1e-4 * Math.abs(b)
  }
  if (!isClose) throw new Error(\`\${label}, differs from the stored one by up to \${difference}\`)
  console.log(\`\${label}, differs from the stored one by up to \${difference}: another processor or version rounds otherwise\`)
}

await checkFiles()
const model = await loadForInference(join(folder, 'model.pt2'), { threads: ${threads} })
const sample = await load(join(folder, 'sample.pth'))
const [file] = process.argv.slice(2)
const given = file === undefined ? sample.get('inputs') : await load(file)
const outputs = await model.predict(Array.isArray(given) ? given : [given])
if (file === undefined) outputs.forEach((output, index) => compare(index, output, sample.get('outputs')[index]))
else for (const output of outputs) console.log(String(output))
model.dispose()
`
}

/** `load_weights.py`, for a model whose code is elsewhere. */
export function loadWeightsPython({ name, weights }: { name: string; weights: 'pth' | 'safetensors' }): string {
  const load =
    weights === 'pth'
      ? 'torch.load(folder / "model.pth", weights_only=True)'
      : 'load_file(folder / "model.safetensors")'
  // Of tied tensors a safetensors file has one: load_model puts it into all its places.
  const put =
    weights === 'pth'
      ? 'model.load_state_dict(state_dict)'
      : 'safetensors.torch.load_model(model, folder / "model.safetensors")'
  return `"""Loads the weights of ${name}. The model's code is not in this export: see README.md."""
import hashlib
import sys
from pathlib import Path

${weights === 'pth' ? 'import torch' : 'from safetensors.torch import load_file'}

folder = Path(__file__).resolve().parent

${checkFilesPython}

def main():
    check_files()
    state_dict = ${load}
    # With the class of the model at hand:
    #     model = YourModel(...)
    #     ${put}
    #     model.eval()
    for name, tensor in state_dict.items():
        print(name, str(tensor.dtype).removeprefix("torch."), list(tensor.shape))


if __name__ == "__main__":
    main()
`.replace(/\n{4,}/g, '\n\n\n')
}

/** `load_weights.mjs`: needs torchkeep without LibTorch. */
export function loadWeightsNode({ name, weights }: { name: string; weights: 'pth' | 'safetensors' }): string {
  return `/** Reads the weights of ${name}. The model's code is not in this export: see README.md. */
import { createHash } from 'node:crypto'
import { createReadStream, readFileSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { readTensorValues, readTorchFile } from 'torchkeep/format'

const folder = dirname(fileURLToPath(import.meta.url))
${checkFilesNode}
await checkFiles()
// With the class of the model at hand, and LibTorch: model.loadStateDict(await load(path)), both from 'torchkeep'.
const file = await readTorchFile(join(folder, 'model.${weights}'))
for (const [name, tensor] of file.value) {
  const values = await readTensorValues(file, tensor)
  console.log(name, tensor.dtype, tensor.sizes, values.length)
}
`
}
