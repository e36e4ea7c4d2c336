/** Every code of docs/errors.md is one that the code has, and a test provokes it: here, or where this table says. */
import assert from 'node:assert/strict'
import { mkdirSync, mkdtempSync, readFileSync, rmSync, symlinkSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { began, checkpointValue, flipByte, float32, writeValue } from '../commands/checkpoints.js'
import { runCommand } from '../commands/run-command.js'
import { checkedJson } from '../commands/schema.js'
import { torchFile } from '../format/fixtures.js'
import { decodeCheckpoint, findCheckpoint, listCheckpoints, publish } from '../../src/checkpoint/index.js'
import { ModelExporter } from '../../src/export/index.js'
import { readTorchFile, TorchkeepError, verifyStorages } from '../../src/format/index.js'
import { packageRoot } from '../../src/libtorch/index.js'

const text = (path: string): string => readFileSync(join(packageRoot, path), 'utf8')
const documented = [...text('docs/errors.md').matchAll(/^### `(ERR_\w+)`$/gm)].map(([, code]) => code as string)

/** Tests that need LibTorch, and so are elsewhere: each file asserts the code. */
const elsewhere: Readonly<Record<string, string>> = {
  ERR_DISPOSED: 'test/native/session-lifecycle.test.ts',
  ERR_BUSY: 'test/native/session-lifecycle.test.ts',
  ERR_ADDON_MISMATCH: 'test/native/load.test.ts',
  ERR_TORCH: 'test/lib/tensor.test.ts',
  ERR_OUT_OF_MEMORY: 'test/native/memory.test.ts',
  ERR_NON_FINITE: 'test/training/errors.test.ts',
  ERR_DATA: 'test/training/metrics.test.ts',
  ERR_MONITOR_MISSING: 'test/training/metrics.test.ts',
  ERR_CHECKPOINT_INCOMPATIBLE: 'test/training/resume.test.ts',
  ERR_DISK_FULL: 'test/training/hostile-runs.test.ts',
}

describe('docs/errors.md', () => {
  let folder: string
  before(() => (folder = mkdtempSync(join(tmpdir(), 'torchkeep-errors-'))))
  after(() => rmSync(folder, { recursive: true }))

  const checkpoint = (name: string): Promise<string> =>
    writeValue(
      join(folder, name),
      checkpointValue({ epoch: 1, phase: 1, valLoss: 1, timestamp: began, weight: [9, 9, 9, 9, 9, 9] }),
    )
  const file = (name: string, bytes: string | Uint8Array): string => {
    writeFileSync(join(folder, name), bytes)
    return join(folder, name)
  }

  /** What provokes a code here. */
  const provocations: Readonly<Record<string, () => Promise<unknown>>> = {
    ERR_INVALID_ARGUMENT: async () =>
      (await import('../../src/checkpoint/inspect.js')).inspectCheckpoint(await checkpoint('a.pth'), {
        tensors: true,
        filter: 'nothing',
      }),
    ERR_ABORTED: async () => {
      await checkpoint('b.pth')
      return listCheckpoints(folder, { signal: AbortSignal.abort() })
    },
    ERR_LIBTORCH_MISSING: async () => {
      const { stdout, status } = await runCommand(['setup', '--no-build', '--json', '--from', join(folder, 'none')], {
        TORCHKEEP_CACHE: join(folder, 'cache'),
      })
      assert.equal(status, 3)
      const { error } = checkedJson('setup', stdout) as { error: { code: 'ERR_LIBTORCH_MISSING'; message: string } }
      throw new TorchkeepError(error.code, error.message)
    },
    ERR_CHECKPOINT_MISSING: () => findCheckpoint(folder, 'latest'),
    ERR_CHECKPOINT_UNREADABLE: () => {
      const loop = join(folder, 'loop.pth')
      symlinkSync(loop, loop)
      return readTorchFile(loop)
    },
    ERR_CHECKPOINT_CORRUPT: async () => {
      const path = await checkpoint('flipped.pth')
      flipByte(path, new Uint8Array(new Float32Array([9, 9, 9, 9, 9, 9]).buffer))
      return verifyStorages(await readTorchFile(path))
    },
    // os.system('true') by GLOBAL and REDUCE
    ERR_CHECKPOINT_UNSAFE: () =>
      readTorchFile(
        file('unsafe.pth', torchFile(Buffer.from('\x80\x02cos\nsystem\nX\x04\x00\x00\x00true\x85R.', 'latin1'))),
      ),
    ERR_CHECKPOINT_UNSUPPORTED: () => readTorchFile(file('x.gz', Buffer.from('1f8b0800000000000003', 'hex'))),
    ERR_CHECKPOINT_NEWER: async () =>
      decodeCheckpoint(
        new Map([
          ['format', 'torchkeep'],
          ['version', '99.0'],
        ]),
        'newer.pth',
      ),
    ERR_EXPORT_SECRET: async () => {
      const value = new Map([['ada@mail.example.net', float32([1], [1])]])
      const path = await writeValue(join(folder, 'secret.pth'), value)
      return new ModelExporter({ exportDir: folder }).exportForSharing(path, 'net')
    },
    ERR_CHECKPOINT_WRITE: () => publish(join(file('plain', ''), 'x.pth'), async (path) => writeFileSync(path, '')),
  }

  it('documents exactly the codes that there are', () => {
    const union = /export type ErrorCode =([^]*?)\n\n/.exec(text('src/format/errors.ts'))?.[1] ?? ''
    const declared = [...union.matchAll(/'(ERR_\w+)'/g)].map(([, code]) => code)
    assert.ok(declared.length > 10)
    assert.deepEqual(documented, declared)
  })

  it('has a test for each', () => {
    assert.deepEqual([...documented].sort(), [...Object.keys(elsewhere), ...Object.keys(provocations)].sort())
  })

  for (const [code, provoke] of Object.entries(provocations)) {
    it(`${code} is provoked here`, async () => {
      mkdirSync(folder, { recursive: true })
      await assert.rejects(provoke, (error) => {
        assert.ok(error instanceof TorchkeepError, String(error))
        assert.equal(error.code, code)
        assert.ok(error.message.length > 10)
        return true
      })
    })
  }

  for (const [code, path] of Object.entries(elsewhere)) {
    it(`${code} is provoked in ${path}`, () => {
      const asserts = new RegExp(`(code: |code\\(|code, |rejects\\([^;]*?)'${code}'`)
      assert.match(text(path), asserts, `no assert of ${path} names the code`)
      assert.doesNotMatch(text(path), /(describe|it)\.skip\(/)
    })
  }
})
