/** Ctrl-C: a durable checkpoint and exit code 130. */
import assert from 'node:assert/strict'
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { mkdtempSync, readdirSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { latestPath } from '../../src/checkpoint/layout.js'
import { decodeCheckpoint } from '../../src/checkpoint/schema.js'
import { load } from '../../src/serialization.js'

describe('interruptSignal', function () {
  this.timeout(60_000)
  for (const [signal, exitCode] of [
    ['SIGINT', 130],
    ['SIGTERM', 143],
  ] as const) {
    it(`saves at the next step and exits with ${exitCode} on ${signal}`, async () => {
      const folder = mkdtempSync(join(tmpdir(), 'torchkeep-interrupt-'))
      const child = spawn(process.execPath, [fileURLToPath(new URL('interrupted-run.js', import.meta.url)), folder])
      let output = ''
      child.stderr.on('data', (data: Buffer) => (output += data.toString()))
      const exit = once(child, 'exit')
      await once(child.stdout, 'data')
      child.kill(signal)
      assert.deepEqual(await exit, [exitCode, null], output)
      const [saved, ...others] = readdirSync(join(folder, 'regular'))
      assert.ok(saved !== undefined && others.length === 0, 'only the interruption saved')
      assert.ok(output.includes(saved), output)
      const path = latestPath(folder)
      const checkpoint = decodeCheckpoint(await load(path), path)
      assert.ok(checkpoint.trainingState.globalStep > 0)
      rmSync(folder, { recursive: true })
    })
  }

  it('leaves only whole files when the process is killed at a save, and goes on from them', async () => {
    const folder = mkdtempSync(join(tmpdir(), 'torchkeep-killed-'))
    const program = fileURLToPath(new URL('interrupted-run.js', import.meta.url))
    for (let kill = 0; kill < 4; kill++) {
      const child = spawn(process.execPath, [program, folder, 'save', ...(kill === 0 ? [] : ['resume'])])
      let errors = ''
      child.stderr.on('data', (data: Buffer) => (errors += data.toString()))
      const exit = once(child, 'exit')
      await once(child.stdout, 'data')
      child.kill('SIGKILL')
      assert.deepEqual(await exit, [null, 'SIGKILL'], errors)
    }
    const files = readdirSync(folder, { recursive: true, encoding: 'utf8' }).filter((name) => name.endsWith('.pth'))
    assert.ok(files.length > 4)
    for (const name of files) decodeCheckpoint(await load(join(folder, name)), name)
    rmSync(folder, { recursive: true })
  })
})
