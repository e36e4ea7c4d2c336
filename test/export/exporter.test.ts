/** Exports as processes: interrupted, killed, and where LibTorch was never set up. */
import assert from 'node:assert/strict'
import { execFileSync, spawn } from 'node:child_process'
import { once } from 'node:events'
import { existsSync, mkdirSync, mkdtempSync, readdirSync, rmSync, watch } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import type { ExportResult } from '../../src/export/index.js'
import { ModelExporter } from '../../src/export/index.js'
import { packageRoot } from '../../src/libtorch/index.js'
import { copyPackage } from '../commands/package-copy.js'
import { runCommand } from '../commands/run-command.js'
import { checkedJson } from '../commands/schema.js'
import { smallRun } from '../training/small-run.js'

describe('an export', function () {
  this.timeout(60_000)
  let folder: string
  let checkpoint: string
  before(async () => {
    folder = mkdtempSync(join(tmpdir(), 'torchkeep-exporter-'))
    const checkpointDir = join(folder, 'checkpoints')
    await smallRun(checkpointDir).train()
    checkpoint = join(checkpointDir, 'latest.pth')
  })
  after(() => rmSync(folder, { recursive: true }))

  /** Starts the command and sends it a signal as soon as `file` is in its hidden folder (or that folder itself is there). */
  async function interrupted(exportDir: string, signal: NodeJS.Signals, file?: string): Promise<unknown[]> {
    mkdirSync(exportDir)
    const args = ['export', checkpoint, 'inference', 'cut', '--export-dir', exportDir]
    const child = spawn(process.execPath, [join(packageRoot, 'bin', 'run.js'), ...args], { stdio: 'ignore' })
    const exit = once(child, 'exit')
    const temporary = await seen(exportDir, (name) => name.startsWith('.torchkeep-tmp'))
    if (file !== undefined) await seen(join(exportDir, temporary), (name) => name === file)
    child.kill(signal)
    return exit
  }

  /** The name of a file once it is in a folder. */
  async function seen(path: string, isWanted: (name: string) => boolean): Promise<string> {
    const watcher = watch(path)
    try {
      const there = (): string | undefined => readdirSync(path).find(isWanted)
      for (let found = there(); ; found = there()) {
        if (found !== undefined) return found
        await once(watcher, 'change')
      }
    } finally {
      watcher.close()
    }
  }

  it('that Ctrl-C ends leaves nothing and ends with 130', async () => {
    const exportDir = join(folder, 'interrupted')
    assert.deepEqual(await interrupted(exportDir, 'SIGINT'), [130, null])
    assert.deepEqual(readdirSync(exportDir), [])
  })

  it('that is killed has no name, and the next one removes what it left', async () => {
    const exportDir = join(folder, 'killed')
    assert.deepEqual(await interrupted(exportDir, 'SIGKILL', 'model.pt2'), [null, 'SIGKILL'])
    const left = readdirSync(exportDir)
    assert.ok(left.length > 0 && left.every((name) => name.startsWith('.torchkeep-tmp')), left.join())
    const { folder: made, archive } = await new ModelExporter({ exportDir }).exportForInference(checkpoint, 'whole')
    assert.deepEqual(readdirSync(exportDir).map((name) => join(exportDir, name)).sort(), [made, archive]) // prettier-ignore
    execFileSync('sha256sum', ['--check', '--quiet', 'SHA256SUMS'], { cwd: made })
  })

  it('that an abort signal ends rejects with ERR_ABORTED and leaves nothing', async () => {
    const exportDir = join(folder, 'aborted')
    const stop = new AbortController()
    const onProgress = ({ what }: { what: string }): void => (what === 'packing' ? stop.abort() : undefined)
    const exporting = new ModelExporter({ exportDir }).exportForInference(checkpoint, 'aborted', {
      signal: stop.signal,
      onProgress,
    })
    await assert.rejects(exporting, { code: 'ERR_ABORTED' })
    assert.deepEqual(readdirSync(exportDir), [])
  })

  it('beside another of the same name gets a name of its own, and neither is touched', async () => {
    const exporter = new ModelExporter({ exportDir: join(folder, 'same') })
    const options = { formats: ['pth'], compress: null } as const
    const made = await Promise.all([1, 2].map(() => exporter.exportForInference(checkpoint, 'x', options)))
    const names = made.map(({ folder: path }) => path)
    assert.equal(new Set(names).size, 2)
    for (const path of names) execFileSync('sha256sum', ['--check', '--quiet', 'SHA256SUMS'], { cwd: path })
  })

  describe('where LibTorch was never set up', () => {
    let program: string
    let env: NodeJS.ProcessEnv
    before(() => {
      const copy = copyPackage(join(folder, 'package'), true)
      program = copy.program
      env = { TORCHKEEP_CACHE: join(folder, 'cache') }
    })

    it('says what to do for the model, and exports the weights', async () => {
      const args = ['export', checkpoint, 'inference', 'weights', '--json', '--export-dir', join(folder, 'without')]
      const refused = await runCommand(args, env, program)
      assert.equal(refused.status, 3, refused.stderr)
      const { error } = checkedJson('export', refused.stdout) as { error: { code: string; suggestions: string[] } }
      assert.equal(error.code, 'ERR_LIBTORCH_MISSING')
      assert.match(error.suggestions.join('\n'), /torchkeep setup[^]*--format pth,safetensors exports the weights/)
      assert.equal(existsSync(join(folder, 'without')), false)

      const given = await runCommand([...args, '--format', 'pth,safetensors'], env, program)
      assert.equal(given.status, 0, given.stderr + given.stdout)
      const { files, check } = checkedJson('export', given.stdout) as ExportResult
      assert.equal(check, null)
      assert.deepEqual(
        files.map(({ name }) => name),
        [
          ...['README.md', 'config.json', 'load_weights.mjs', 'load_weights.py', 'metadata.json', 'model.pth'],
          ...['model.safetensors', 'package.json', 'requirements.txt', 'SHA256SUMS'],
        ],
      )
    })
  })
})
