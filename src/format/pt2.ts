/**
 * Reads archives of `torch.export.save` (since PyTorch 2.8): weights and constants as raw records that JSON files describe, and the graph of each model, which is summarised. Source:
 * `torch/export/pt2_archive/_package.py` and `torch/_export/serde/schema.py` (2.13).
 */
import { resolve } from 'node:path'
import type { ByteSource } from './byte-source.js'
import { fault, quoted } from './fault.js'
import { JsonFields } from './json-fields.js'
import { parseJsonObject } from './json-text.js'
import { Pt2Payloads } from './pt2-payloads.js'
import { summarizeModel } from './pt2-graph.js'
import { warnUnused } from './storage-table.js'
import type { StorageRecord } from './tensor-record.js'
import { protectionOf, type PickleSession, type ReadSettings, type TorchFile } from './torch-file.js'
import { readContainerFacts, requiredRecord } from './torch-zip.js'
import type { ZipArchive } from './zip-read.js'

/** Reads an archive that has an `archive_format` and no `data.pkl`: the value is a dict of `state_dict` and `constants`, or of such dicts by model name where there are several models. */
export async function readPt2(
  source: ByteSource,
  archive: ZipArchive,
  settings: ReadSettings,
  session: PickleSession,
): Promise<TorchFile> {
  const { path } = source
  const { records, topFolder } = archive
  const format = (await requiredRecord(source, archive, 'archive_format', 100)).toString('latin1')
  if (format !== 'pt2')
    fault(
      path,
      { finding: 'record.content', subject: 'archive_format' },
      `archive_format is ${quoted(format)}, expected "pt2"`,
    )
  const byteOrder = await readContainerFacts(source, archive, settings.structure)
  const place = { path: resolve(path), identity: source.identity, byteOrder }
  const payloads = new Pt2Payloads({ source, archive, settings, session, place })
  const names = modelNames(archive)
  const models: [string, Map<string, unknown>][] = []
  const used = new Set<string>(['archive_format', 'archive_version', 'byteorder', 'version', '.data/version'])
  used.add('.data/serialization_id')
  for (const name of names) {
    const state = await payloads.read('data/weights/', `${name}_weights_config.json`)
    const constants = await payloads.read('data/constants/', `${name}_constants_config.json`)
    models.push([name, new Map<string, unknown>([['state_dict', state], ['constants', constants]])]) // prettier-ignore
  }
  const isUsed = (name: string) => used.has(name) || payloads.used.has(name) || isKnown(name)
  session.findings.push(...warnUnused(records.keys(), isUsed))
  return {
    path,
    container: 'pt2',
    identity: source.identity,
    value: models.length === 1 ? models[0]?.[1] : new Map(models),
    storages: payloads.storages,
    records,
    topFolder,
    globals: [...session.globals],
    findings: session.findings,
    details: await readDetails(source, archive, settings, names, payloads.storages),
    protection: protectionOf(records.values()),
  }
}

function modelNames({ records }: ZipArchive): string[] {
  return [...records.keys()].flatMap((name) => {
    const model = /^models\/([^/]+)\.json$/.exec(name)?.[1]
    return model === undefined ? [] : [model]
  })
}

/** Parts that are listed and not read: graphs, sample inputs, compiled code, files of the user. */
function isKnown(name: string): boolean {
  return /^(models|data\/sample_inputs|data\/aotinductor|data\/executorch|extra|xl_model_weights|mtia)\//.test(name)
}

async function readDetails(
  source: ByteSource,
  archive: ZipArchive,
  settings: ReadSettings,
  names: readonly string[],
  storages: readonly StorageRecord[],
): Promise<Record<string, unknown>> {
  const listed = (pattern: RegExp) =>
    [...archive.records.values()]
      .filter(({ name }) => pattern.test(name))
      .map(({ name, sizeBytes }) => ({ name, sizeBytes }))
  const version = archive.records.has('archive_version')
    ? (await requiredRecord(source, archive, 'archive_version', 100)).toString('latin1')
    : null
  const models: unknown[] = []
  for (const name of names) {
    if (settings.structure === 'full') {
      const record = `models/${name}.json`
      const bytes = await requiredRecord(source, archive, record, settings.maxPickleBytes)
      const json = parseJsonObject(source.path, record, bytes)
      const fields = new JsonFields(json, { path: source.path, name: record, finding: 'pt2.structure' })
      models.push({ name, ...summarizeModel(fields) })
    } else models.push({ name })
  }
  return {
    archiveVersion: version,
    models,
    storages: storages.length,
    sampleInputs: listed(/^data\/sample_inputs\//),
    compiled: listed(/^data\/aotinductor\//),
    extraFiles: listed(/^extra\//),
  }
}
