/** Short forms over the native boundary for the tests in this folder. */
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import type { CallOptions, TensorHandle, Value } from '../../lib/contract.js'
import { addon } from '../../lib/native.js'

/** A float32 tensor. */
export function floats(values: readonly number[], sizes: readonly number[] = [values.length]): TensorHandle {
  return addon().tensorFromData({ dtype: 'float32', sizes, data: Float32Array.from(values), device: 'cpu' })
}

/** The values of a float32 tensor. */
export function valuesOf(tensor: TensorHandle): number[] {
  return [...new Float32Array(addon().tensorToData({ tensor }))]
}

/** Calls `aten::add.Tensor`, written `add.Tensor`, without autograd unless told otherwise. */
export function call(op: string, args: readonly Value[], options: Partial<CallOptions> = {}): Value {
  const [name, overload = ''] = op.split('.') as [string, string?]
  return addon().call({ op: `aten::${name}`, overload, args, gradEnabled: false, ...options })
}

/** {@link call} of an operator with one tensor as its result. */
export function callTensor(op: string, args: readonly Value[], options: Partial<CallOptions> = {}): TensorHandle {
  const result = call(op, args, options)
  if (result === null || typeof result !== 'object' || !('dispose' in result)) throw new Error(`${op} gave no tensor`)
  return result
}

/** Runs `use` with a fresh folder that is removed afterwards. */
export async function withFolder(use: (folder: string) => Promise<void>): Promise<void> {
  const folder = mkdtempSync(join(tmpdir(), 'torchkeep-native-'))
  try {
    await use(folder)
  } finally {
    rmSync(folder, { recursive: true })
  }
}
