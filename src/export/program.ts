/** Recorded graphs as files hold them: read exactly, their structure checked, nothing run. */
import { exportedProgram, type ExportedGraph, type ExportedProgram } from '../format/export-schema.js'
import { ByteSource } from '../format/byte-source.js'
import { TorchkeepError } from '../format/errors.js'
import { JsonFields } from '../format/json-fields.js'
import { plainJson } from '../format/json-plain.js'
import { parseJsonObject } from '../format/json-text.js'
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

/** So that whoever goes through the graph meets lists, objects and names where they belong. What nodes say is checked where they run. */
function checkGraph(module: JsonFields): void {
  const graph = module.object('graph')
  for (const key of ['inputs', 'outputs']) graph.objects(key)
  for (const node of graph.objects('nodes')) {
    node.text('target')
    // Writers of older minor versions left it out.
    if ((node.at('name') ?? null) !== null) node.text('name')
    for (const output of node.objects('outputs')) requireUnion(output, 'outputs')
    for (const key of node.object('metadata').entries.keys()) node.object('metadata').text(key)
    for (const input of node.objects('inputs')) requireUnion(input.object('arg'), input.text('name'))
  }
  const values = graph.object('tensor_values')
  for (const name of values.entries.keys()) {
    const meta = values.object(name)
    for (const key of ['sizes', 'strides']) for (const size of meta.objects(key)) checkSize(size)
    checkSize(meta.object('storage_offset'))
  }
  const signature = module.object('signature')
  for (const key of ['input_specs', 'output_specs']) for (const spec of signature.objects(key)) checkSpec(spec)
  for (const call of module.objects('module_call_graph')) {
    call.text('fqn')
    if ((call.at('signature') ?? null) === null) continue
    for (const key of ['in_spec', 'out_spec']) call.object('signature').text(key)
  }
}

/** A number, or an expression. */
function checkSize(size: JsonFields): void {
  if (typeof size.at('as_int') !== 'number') size.object('as_expr').text('expr_str')
}

const stateNames: ReadonlyMap<string, string> = new Map([
  ['parameter', 'parameter_name'],
  ['buffer', 'buffer_name'],
  ['tensor_constant', 'tensor_constant_name'],
])

function checkSpec(spec: JsonFields): void {
  const [kind = 'a kind'] = spec.entries.keys()
  const body = spec.object(kind)
  const name = stateNames.get(kind)
  if (name === undefined) {
    if (kind === 'user_input' || kind === 'user_output') requireUnion(body.object('arg'), kind)
    return
  }
  body.text(name)
  body.object('arg').text('name')
  if (kind === 'buffer') body.boolean('persistent')
}

/** An argument: one member, by which it is a tensor's name or a plain value. */
function requireUnion(argument: JsonFields, name: string): void {
  const keys = [...argument.entries.keys()]
  if (keys.length !== 1) argument.object(`${name}: one member`)
  if (keys[0] === 'as_tensor') argument.object('as_tensor').text('name')
  if (keys[0] === 'as_tensors') for (const tensor of argument.objects('as_tensors')) tensor.text('name')
}
