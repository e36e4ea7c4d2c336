/** Small files that would cost a careless reader minutes or gigabytes cost us neither, whoever looks at them. */
import assert from 'node:assert/strict'
import { execFileSync } from 'node:child_process'
import { fileURLToPath } from 'node:url'
import { withFolder } from '../format/fixtures.js'
import type { Cost } from './bombs-child.js'
import { bombs } from './bombs.js'

const child = fileURLToPath(new URL('bombs-child.js', import.meta.url))

describe('checkpoint: files that cost much', () => {
  for (const [number, [title, make]] of bombs().entries()) {
    it(title, () =>
      withFolder(async (folder) => {
        const args = ['--max-old-space-size=512', child, folder, String(number)]
        const lines = execFileSync(process.execPath, args, { encoding: 'utf8', timeout: 60_000 })
        // Files of megabytes may take a little more than the second that everything else has.
        const mostMs = 1000 + (2000 * make().length) / 2 ** 20
        for (const line of lines.trim().split('\n')) {
          const { look, outcome, cpuMs, grewMb } = JSON.parse(line) as Cost
          assert.match(outcome, /^(fine|[a-z]+\.[a-z_]+|ERR_[A-Z_]+)$/, `${look}: ${outcome}`)
          assert(cpuMs < mostMs, `${look} took ${cpuMs.toFixed()} ms of at most ${mostMs.toFixed()}`)
          assert(grewMb < 200, `${look} grew by ${grewMb.toFixed()} MB`)
        }
      }),
    )
  }
})
