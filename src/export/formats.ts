/** Which files of weights an export writes. */
import { TorchkeepError } from '../format/errors.js'
import { nearNames } from '../format/near-names.js'
import type { ArchiveFormat, ExportDType, ExportFormat } from './types.js'

const known: readonly ExportFormat[] = ['pth', 'safetensors', 'pt2', 'archive']

/** The files of an export, and whether the caller named them. */
export interface ChosenFormats {
  formats: ReadonlySet<ExportFormat>
  /** Named ones that cannot be written are an error, usual ones a gap. */
  isNamed: (format: ExportFormat) => boolean
}

/** `archive` alone comes on top of the usual files; any other name means exactly what is named. */
export function chooseFormats(usual: readonly ExportFormat[], named: readonly ExportFormat[] = []): ChosenFormats {
  for (const format of named)
    if (!known.includes(format))
      throw new TorchkeepError('ERR_INVALID_ARGUMENT', `there is no format '${format}', expected ${known.join(', ')}`, {
        suggestions: nearNames(format, known),
      })
  const base = named.some((format) => format !== 'archive') ? [] : usual
  return { formats: new Set([...base, ...named]), isNamed: (format) => named.includes(format) }
}

/** @throws TorchkeepError `ERR_INVALID_ARGUMENT` for a dtype or archive that is none of ours. */
export function checkExportOptions({
  dtype,
  compress,
}: {
  dtype?: ExportDType | null
  compress?: ArchiveFormat | null
}): void {
  if (dtype !== undefined && dtype !== null && dtype !== 'bfloat16' && dtype !== 'float16')
    throw new TorchkeepError('ERR_INVALID_ARGUMENT', `dtype should be bfloat16 or float16, found ${String(dtype)}`)
  if (compress !== undefined && compress !== null && compress !== 'tar.gz' && compress !== 'zip')
    throw new TorchkeepError('ERR_INVALID_ARGUMENT', `compress should be tar.gz or zip, found ${String(compress)}`)
}
