/** Short names for the bytes of tensors, the same in both languages, so that equality of bits can be compared as text. */
import { createHash } from 'node:crypto'
import type { Tensor } from '../../lib/index.js'

/** dtype, sizes and SHA-256 of the values in C order. */
export function digest(tensor: Tensor): string {
  const { dtype, sizes } = tensor.info()
  const { buffer, byteOffset, byteLength } = tensor.data()
  const bytes = new Uint8Array(buffer, byteOffset, byteLength)
  return `${dtype}[${sizes.join(',')}]${createHash('sha256').update(bytes).digest('hex')}`
}

/** {@link digest} of named tensors. */
export function digests(tensors: Iterable<readonly [string, Tensor]>): Record<string, string> {
  return Object.fromEntries([...tensors].map(([name, tensor]) => [name, digest(tensor)]))
}

/** Defines `digest(tensor)` and `digests(dict)` for a Python program. */
export const pythonDigest = `
def digest(t):
    t = t.detach().cpu().contiguous()
    raw = bytes(t.reshape(-1).view(torch.uint8).tolist()) if t.numel() else b''
    return f"{str(t.dtype)[6:]}[{','.join(map(str, t.shape))}]{hashlib.sha256(raw).hexdigest()}"
def digests(d):
    return {k: digest(v) for k, v in d.items()}
`
