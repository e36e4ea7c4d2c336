/**
 * A document whose console blocks are run as printed: every command in order, in a fresh folder, with the files that the document shows. Of what is printed, each line must come out in this order with other numbers at most
 * (`...` stands for lines that are left out).
 */
import assert from 'node:assert/strict'
import { chmodSync, mkdirSync, mkdtempSync, readFileSync, rmSync, symlinkSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { delimiter, join } from 'node:path'
import { packageRoot } from '../../src/libtorch/index.js'

/** A command with what it prints, or a file to write first. */
export type Step = { command: string; printed: string } | { file: string; text: string }

/** The console blocks' commands and the files of a document, in order. A file is a block after a line that begins with its name and ends with a colon. */
export function stepsOf(document: string): Step[] {
  const text = readFileSync(join(packageRoot, document), 'utf8')
  const blocks = text.matchAll(/(?:^`([\w./-]+)`[^\n]*:\n\n)?^```(\w+)\n([^]*?)^```/gm)
  return [...blocks].flatMap(([, file, language, content = '']): Step[] => {
    if (file !== undefined) return [{ file, text: content }]
    if (language !== 'console') return []
    return content
      .split(/^\$ /m)
      .slice(1)
      .map((step) => {
        const newline = step.indexOf('\n')
        return { command: step.slice(0, newline), printed: step.slice(newline + 1) }
      })
  })
}

/** A fresh folder in which `npx torchkeep`, `python` (where given) and `import 'torchkeep'` are what the tests are of. */
export class DocumentFolder {
  readonly path = mkdtempSync(join(tmpdir(), 'torchkeep-document-'))
  readonly env: NodeJS.ProcessEnv

  constructor(python?: string) {
    const bin = join(this.path, 'node_modules', '.bin')
    mkdirSync(bin, { recursive: true })
    symlinkSync(packageRoot, join(this.path, 'node_modules', 'torchkeep'))
    const script = (name: string, line: string): void => {
      writeFileSync(join(bin, name), `#!/bin/sh\n${line}\n`)
      chmodSync(join(bin, name), 0o755)
    }
    script('npx', `shift\nexec '${process.execPath}' '${join(packageRoot, 'bin', 'run.js')}' "$@"`)
    script('node', `exec '${process.execPath}' "$@"`)
    if (python !== undefined) script('python', `exec '${python}' "$@"`)
    this.env = { ...process.env, PATH: [bin, process.env['PATH']].join(delimiter), COLUMNS: '200' }
  }

  remove(): void {
    rmSync(this.path, { recursive: true })
  }
}

/** A text with its numbers taken out, on one line: how long messages are broken depends on their numbers. */
const normalized = (text: string): string =>
  text
    .replaceAll(/\d+(?:\.\d+)?(?:e-?\d+)?/g, 'N')
    .replaceAll(/\s+/g, ' ')
    .trim()

/** What is printed between lines of `...` comes out, in this order, and without `...` nothing else does. */
export function checkPrinted(command: string, printed: string, output: string): void {
  const actual = normalized(output)
  const parts = printed
    .replaceAll('^C\n', '')
    .split(/^\.\.\.\n/m)
    .map(normalized)
  if (parts.length === 1) return assert.equal(actual, parts[0], `${command}\n${output}`)
  let at = 0
  for (const part of parts) {
    const found = actual.indexOf(part, at)
    assert.ok(found >= 0, `${command}: this does not come out where it should:\n${part}\nin\n${output}`)
    at = found + part.length
  }
}
