/**
 * Tells the containers that are zip archives apart, as `torch.load` would: `constants.pkl` makes an archive TorchScript, else `data.pkl` one of torch.save, else `archive_format` one of torch.export.
 * So an archive that could pass for two of them is always judged as the first, which is what Python would load.
 */
import type { ByteSource } from './byte-source.js'
import { fault } from './fault.js'
import { readPt2 } from './pt2.js'
import { refuseForeignZip } from './recognize.js'
import { PickleSession, type ReadSettings, type TorchFile } from './torch-file.js'
import { readTorchScript } from './torchscript.js'
import { readTorchZip } from './torch-zip.js'
import { readZipArchive, type ZipArchive } from './zip-read.js'

/** Reads a zip archive of PyTorch. */
export async function readZip(source: ByteSource, settings: ReadSettings): Promise<TorchFile> {
  const session = new PickleSession(source.path, settings)
  const archive = await readZipArchive(source, session.findings, settings.structure)
  return readZipRecords(source, archive, settings, session)
}

/** Reads an archive whose records are known. */
export async function readZipRecords(
  source: ByteSource,
  archive: ZipArchive,
  settings: ReadSettings,
  session: PickleSession,
): Promise<TorchFile> {
  const { records } = archive
  if (records.has('constants.pkl')) return readTorchScript(source, archive, settings, session)
  if (records.has('data.pkl')) return readTorchZip(source, archive, settings, session)
  if (records.has('archive_format')) return readPt2(source, archive, settings, session)
  const names = [...records.keys()]
  refuseForeignZip(source.path, names)
  const found = names.slice(0, 5).join(', ')
  const missing = { finding: 'record.missing', subject: 'data.pkl' } as const
  return fault(source.path, missing, `the record data.pkl is missing (found ${found})`)
}
