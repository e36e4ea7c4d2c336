/** What commands do on a terminal and what they do not do elsewhere: colour, progress, Ctrl-C. */
import assert from 'node:assert/strict'
import { closeSync, ftruncateSync, mkdtempSync, openSync, rmSync, writeSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { writeCheckpointFolder } from './checkpoints.js'
import { needTerminal, onTerminal } from './on-terminal.js'
import { runCommand } from './run-command.js'

const colours = new RegExp('\\x1b\\[\\d+m')

/** A safetensors file of zeros, most of it a hole: no checksum keeps it from being read. */
function writeLargeFile(path: string, sizeBytes: number): void {
  const header = Buffer.from(
    JSON.stringify({ w: { dtype: 'F32', shape: [sizeBytes / 4], data_offsets: [0, sizeBytes] } }),
  )
  const length = Buffer.alloc(8)
  length.writeBigUInt64LE(BigInt(header.length))
  const file = openSync(path, 'w')
  writeSync(file, Buffer.concat([length, header]))
  ftruncateSync(file, length.length + header.length + sizeBytes)
  closeSync(file)
}

describe('on a terminal', () => {
  let folder: string
  let large: string
  before(async () => {
    folder = mkdtempSync(join(tmpdir(), 'torchkeep-terminal-'))
    large = join(folder, 'large.safetensors')
    writeLargeFile(large, 1 << 29)
    await writeCheckpointFolder(join(folder, 'checkpoints'))
  })
  after(() => rmSync(folder, { recursive: true }))

  it('colours only there, and not with NO_COLOR or TERM=dumb', async function () {
    needTerminal(this)
    const list = ['list', join(folder, 'checkpoints')]
    assert.match((await onTerminal(list)).output, colours)
    assert.doesNotMatch((await onTerminal(list, { NO_COLOR: '1' })).output, colours)
    assert.doesNotMatch((await onTerminal(list, { TERM: 'dumb' })).output, colours)
    assert.doesNotMatch((await runCommand(list, { TERM: 'xterm-256color' })).stdout, colours)
    assert.doesNotMatch((await onTerminal([...list, '--json'])).output, colours)
  })

  it('shows progress of what takes long, there only, and never with --json', async function () {
    needTerminal(this)
    const inspect = ['inspect', large, '--stats']
    const { status, output } = await onTerminal(inspect)
    assert.equal(status, 0, output)
    assert.match(output, /reading \[=* *\] \d+ %/)
    assert.doesNotMatch(
      (await onTerminal(['list', join(folder, 'checkpoints')])).output,
      /reading \[/,
      'short work has no bar',
    )
    const json = await onTerminal([...inspect, '--json'])
    assert.doesNotMatch(json.output, /reading/)
    const piped = await runCommand(inspect)
    assert.deepEqual([piped.status, piped.stderr], [0, ''])
  })

  it('stops on Ctrl-C with 130', async function () {
    needTerminal(this)
    let pressed = false
    const { status, output } = await onTerminal(['inspect', large, '--stats'], {}, (seen) => {
      if (pressed || !seen.includes('reading [')) return ''
      pressed = true
      return '\x03'
    })
    assert.ok(pressed, output)
    assert.equal(status, 130, output)
    assert.match(output, /Code: ERR_ABORTED/)
  })
})
