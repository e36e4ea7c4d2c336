/** The attacks of `test/format/hostile-*.ts` are real: Python runs them where it is told to trust the file. Ours refuse every one of them without running anything. */
import assert from 'node:assert/strict'
import { existsSync } from 'node:fs'
import { writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { readTorchFile } from '../../src/format/index.js'
import { torchFile, withFolder } from '../format/fixtures.js'
import { attackPickle, callers } from '../format/hostile-calls.js'
import { gadgets } from '../format/hostile-gadgets.js'
import { needPython, runPython } from '../python.js'

/** Loads each file trustingly and waits for the processes that it started. */
const loadAll = `
import os, io, contextlib, signal, warnings
warnings.simplefilter('ignore')
sys.stdin = open(os.devnull)
def stop(*ignored): raise TimeoutError
signal.signal(signal.SIGALRM, stop)
refused = 0
for path in json.load(open(sys.argv[1])):
    try:
        torch.load(path)
    except Exception as error:
        refused += 1
    signal.alarm(20)
    try:
        with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
            torch.load(path, weights_only=False)
    except TimeoutError:
        sys.exit('it takes forever: ' + path)
    except BaseException:
        pass
    signal.alarm(0)
try:
    while True: os.wait()
except ChildProcessError:
    pass
print(refused)
`

describe('interop: attacks that Python runs', function () {
  before(function () {
    needPython(this)
  })

  it('each live gadget, and each way to call it, makes its marker in Python and nothing here', () =>
    withFolder(async (folder) => {
      const attacks: { title: string; path: string; marker: string }[] = []
      for (const caller of callers) {
        for (const gadget of gadgets.filter((one) => one.live)) {
          const title = `${gadget.module}.${gadget.name} by ${caller.title}`
          const oneStr = ['os.system', 'os.popen', 'subprocess.getoutput', 'os.mkdir'].includes(
            `${gadget.module}.${gadget.name}`,
          )
          if (caller.takes === 'one str' ? !oneStr : !oneStr && caller.title !== 'REDUCE') continue
          const marker = join(folder, `marker-${attacks.length}`)
          const path = join(folder, `attack-${attacks.length}.pth`)
          await writeFile(path, torchFile(attackPickle(caller, gadget, marker)))
          attacks.push({ title, path, marker })
        }
      }
      for (const { title, path } of attacks) {
        await assert.rejects(readTorchFile(path), { code: 'ERR_CHECKPOINT_UNSAFE' }, title)
      }
      const listPath = join(folder, 'attacks.json')
      assert.deepEqual(
        attacks.filter(({ marker }) => existsSync(marker)),
        [],
      )
      await writeFile(listPath, JSON.stringify(attacks.map(({ path }) => path)))
      const out = await runPython(loadAll, [listPath])
      assert.deepEqual(
        attacks.filter(({ marker }) => !existsSync(marker)).map(({ title }) => title),
        [],
        'not run by Python',
      )
      assert.equal(out.trim(), String(attacks.length), 'what the safe loader of Python refuses')
    }))
})
