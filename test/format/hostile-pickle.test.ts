/** Pickles that call code: every opcode that can call with many gadgets. Each is refused with its culprit named, also where a tool only wants to look. */
import assert from 'node:assert/strict'
import { writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { readTorchFile, type TorchkeepError } from '../../src/format/index.js'
import { op, pickle, torchFile, withFolder } from './fixtures.js'
import { attackPickle, callers } from './hostile-calls.js'
import { gadgets, reportedName, type Gadget } from './hostile-gadgets.js'

/** Those that are tried with each way to call. */
const sample = gadgets.filter((gadget) =>
  ['os.system', 'builtins.exec', '__builtin__.eval', 'subprocess.Popen', 'torch.hub.load'].includes(
    `${gadget.module}.${gadget.name}`,
  ),
)

/** Classes that an object of is no innocent data, although NEWOBJ runs no `__init__`. */
const classes = [
  'subprocess.Popen',
  'os._wrap_close',
  'socket.socket',
  'ctypes.CDLL',
  'builtins.map',
  'builtins.type',
  'operator.methodcaller',
  'operator.attrgetter',
  'types.CodeType',
  'types.FunctionType',
  'code.InteractiveInterpreter',
  'pickle.Unpickler',
  'io.FileIO',
  '_io.FileIO',
  'multiprocessing.Process',
  'threading.Thread',
  'importlib.machinery.SourceFileLoader',
  'sys.flags',
  'shutil.ExecError',
  'numpy.memmap',
  'torch.jit.ScriptModule',
  'torch.package.PackageImporter',
]

async function refusal(path: string): Promise<TorchkeepError> {
  return readTorchFile(path).then(
    () => assert.fail('it was read'),
    (error: unknown) => error as TorchkeepError,
  )
}

/** Reads a file with this pickle both ways and compares the culprit. */
async function checkRefused(path: string, bytes: Buffer, culprits: readonly string[], title: string): Promise<void> {
  await writeFile(path, torchFile(bytes))
  const error = await refusal(path)
  assert.equal(error.name, 'TorchkeepError', `${title}: ${String(error.stack)}`)
  const found = [error.code, error.finding, culprits.includes(error.subject ?? '') ? 'culprit' : error.subject]
  assert.deepEqual(found, ['ERR_CHECKPOINT_UNSAFE', 'pickle.unsafe_global', 'culprit'], `${title}: ${error.message}`)
  const described = await readTorchFile(path, { unsafe: 'describe' }).catch(
    (reason: unknown) => reason as TorchkeepError,
  )
  if (!('findings' in described))
    return assert.notEqual(described.finding, null, `${title}, described: ${described.message}`)
  const { subject } = described.findings.find(({ id }) => id === 'pickle.unsafe_global') ?? { subject: null }
  assert(culprits.includes(subject ?? ''), `${title}, described: ${subject}`)
}

const culpritsOf = (gadget: Gadget, more: readonly string[] = []) => [reportedName(gadget), ...more]

describe('format: pickles that call code', () => {
  for (const caller of callers) {
    it(`by ${caller.title}`, () =>
      withFolder(async (folder) => {
        const everything = ['REDUCE', 'INST', 'OBJ', 'STACK_GLOBAL'].includes(caller.title)
        for (const gadget of everything ? gadgets : sample) {
          const bytes = attackPickle(caller, gadget, join(folder, 'marker'))
          const title = `${gadget.module}.${gadget.name}`
          await checkRefused(join(folder, 'x.pth'), bytes, culpritsOf(gadget, caller.culprits), title)
        }
      }))
  }

  it('of which nothing is known', () =>
    withFolder(async (folder) => {
      const path = join(folder, 'x.pth')
      for (const caller of callers) {
        for (const gadget of gadgets.filter(({ module }) => module === 'nowhere')) {
          await writeFile(path, torchFile(attackPickle(caller, gadget, 'marker')))
          assert.match((await refusal(path)).code, /UNSAFE|CORRUPT/, caller.title)
        }
      }
    }))

  it('by a mere mention of a function that could run code', () =>
    withFolder(async (folder) => {
      for (const name of [
        'os.system',
        'builtins.eval',
        'builtins.exec',
        'subprocess.call',
        'posix.system',
        'runpy.run_path',
      ]) {
        const dot = name.lastIndexOf('.')
        const bytes = pickle(op.global(name.slice(0, dot), name.slice(dot + 1)))
        await checkRefused(join(folder, 'x.pth'), bytes, [name], name)
      }
    }))

  it('by objects of classes that are no data', () =>
    withFolder(async (folder) => {
      for (const name of classes) {
        const dot = name.lastIndexOf('.')
        const bytes = pickle(op.global(name.slice(0, dot), name.slice(dot + 1)) + op.tuple0 + op.newobj)
        await checkRefused(join(folder, 'x.pth'), bytes, [name], name)
      }
    }))
})
