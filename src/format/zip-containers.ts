/**
 * Tells the containers that are zip archives apart, as `torch.load` would: `constants.pkl` makes an archive TorchScript, else `data.pkl` one of torch.save, else `archive_format` one of torch.export.
 * So an archive that could pass for two of them is always judged as the first, which is what Python would load.
 */
import type { ByteSource } from './byte-source.js'
import { refuseZip } from './recognize.js'
import { PickleSession, type ReadSettings, type TorchFile } from './torch-file.js'
import { readTorchZip } from './torch-zip.js'
import { readZipArchive } from './zip-read.js'

/** Reads a zip archive of PyTorch. */
export async function readZip(source: ByteSource, settings: ReadSettings): Promise<TorchFile> {
  const session = new PickleSession(source.path, settings)
  const archive = await readZipArchive(source, session.findings, settings.structure)
  if (archive.records.has('data.pkl')) return readTorchZip(source, archive, settings, session)
  return refuseZip(source.path, [...archive.records.keys()])
}
