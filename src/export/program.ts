/** Recorded graphs as files hold them: read exactly, their structure checked, nothing run. */
import { exportedProgram, type ExportedGraph, type ExportedProgram } from '../format/export-schema.js'
import { ByteSource } from '../format/byte-source.js'
import { TorchkeepError } from '../format/errors.js'
import { JsonFields } from '../format/json-fields.js'
import { plainJson } from '../format/json-plain.js'
import { parseJsonObject, type JsonValue } from '../format/json-text.js'
import { requiredRecord } from '../format/torch-zip.js'
import { readZipArchive } from '../format/zip-read.js'

/** Graphs of models with a hundred thousand nodes are smaller. */
const maxGraphBytes = 256 << 20

/** What a `.pt2` says besides its tensors. */
export interface Pt2Program {
  /** The file's only model. */
  program: ExportedProgram
  /** Files of the user's own (`extra_files` of `torch.export.save`), by name without `extra/`. */
  extra: ReadonlyMap<string, Buffer>
  /** What our own exports say in `extra/torchkeep.json`: the graph was recorded inside `torch.autocast` of this dtype. */
  autocast: 'bfloat16' | null
}

/**
 * Reads the graph of a `.pt2`, every number exactly (integers beyond 2^53 are bigints), all as it is but for the stack traces of its nodes, which hold paths of the machine that wrote it. CRC-32s are checked.
 *
 * @throws TorchkeepError `ERR_CHECKPOINT_CORRUPT`; `ERR_CHECKPOINT_UNSUPPORTED` for an archive of several models, naming them, or of none (compiled code only).
 */
export async function readPt2Program(path: string): Promise<Pt2Program> {
  return ByteSource.with(path, async (source) => {
    const archive = await readZipArchive(source, [])
    const names = [...archive.records.keys()]
    const models = names.filter((name) => /^models\/[^/]+\.json$/.test(name))
    const [record] = models
    if (record === undefined || models.length > 1)
      throw new TorchkeepError(
        'ERR_CHECKPOINT_UNSUPPORTED',
        `${path} holds ${models.length === 0 ? 'no graph' : `several models (${models.map((name) => name.slice(7, -5)).join(', ')})`}, expected one`,
      )
    const json = parseJsonObject(path, record, await requiredRecord(source, archive, record, maxGraphBytes))
    const fields = new JsonFields(json, { path, name: record, finding: 'pt2.structure' })
    checkGraph(fields.object('graph_module'))
    fields.object('schema_version').size('major')
    fields.object('range_constraints')
    const extra = new Map<string, Buffer>()
    for (const name of names.filter((name) => name.startsWith('extra/')))
      extra.set(name.slice('extra/'.length), await requiredRecord(source, archive, name, maxGraphBytes))
    return { program: withoutStackTraces(plainJson(json) as ExportedProgram), extra, autocast: autocastIn(path, extra) }
  })
}

function autocastIn(path: string, extra: ReadonlyMap<string, Buffer>): 'bfloat16' | null {
  const text = extra.get('torchkeep.json')
  if (text === undefined) return null
  const name = 'extra/torchkeep.json'
  return parseJsonObject(path, name, text).get('autocast') === 'bfloat16' ? 'bfloat16' : null
}

/** Python notes with each node where in whose folders its line of code stands; nobody needs that to run it. */
function withoutStackTraces(program: ExportedProgram): ExportedProgram {
  for (const node of program.graph_module.graph.nodes)
    node.metadata = Object.fromEntries(Object.entries(node.metadata ?? {}).filter(([key]) => key !== 'stack_trace'))
  return program
}

/**
 * The evaluation graph of a checkpoint (`model_graph.eval`) as a whole document.
 *
 * @param libtorchVersion that recorded it.
 * @throws TorchkeepError `ERR_CHECKPOINT_CORRUPT` for a text that is no graph.
 */
export function programOf(path: string, text: string, libtorchVersion: string): ExportedProgram {
  const name = 'model_graph.eval'
  const json = parseJsonObject(path, name, Buffer.from(text))
  checkGraph(new JsonFields(json, { path, name, finding: 'pt2.structure' }))
  return exportedProgram(plainJson(json) as ExportedGraph, libtorchVersion)
}

/** So that whoever goes through the graph meets lists and objects where they belong. What nodes say is checked where they run. */
function checkGraph(module: JsonFields): void {
  const graph = module.object('graph')
  for (const key of ['inputs', 'outputs', 'nodes']) for (const item of graph.list(key)) requireObject(graph, key, item)
  for (const name of graph.object('tensor_values').entries.keys()) {
    const meta = graph.object('tensor_values').object(name)
    meta.list('sizes')
    meta.list('strides')
  }
  const signature = module.object('signature')
  for (const key of ['input_specs', 'output_specs'])
    for (const item of signature.list(key)) requireObject(signature, key, item)
  module.list('module_call_graph')
}

function requireObject(parent: JsonFields, key: string, item: JsonValue): void {
  if (!(item instanceof Map)) parent.object(`an item of ${key}`)
}
