// `npm run fuzz -- --seconds N [--seed S] [--only PART-OF-A-NAME] [--keep FOLDER]`: changes real files of every container and lets everything that reads look at them, in a
// child process with limits. Whatever is no TorchkeepError, takes over a second or grows over 200 MB is reported, with the file kept.
import { execFileSync, fork } from 'node:child_process'
import {
  cpSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  writeFileSync,
} from 'node:fs'
import { tmpdir } from 'node:os'
import { basename, dirname, join, relative } from 'node:path'
import { parseArgs } from 'node:util'
import { writeOwnCorpus } from './corpus.mjs'
import * as archive from './mutate-archive.mjs'
import { mutateBytes } from './mutate-bytes.mjs'
import { mutateJson } from './mutate-json.mjs'
import { mutatePickle } from './mutate-pickle.mjs'
import { Random } from './random.mjs'

const { values } = parseArgs({
  options: {
    seconds: { type: 'string', default: '60' },
    seed: { type: 'string' },
    only: { type: 'string', default: '' },
    keep: { type: 'string' },
  },
})
const seed = Number(values.seed ?? Date.now() % 1e9)
const random = new Random(seed)
const scratch = mkdtempSync(join(tmpdir(), 'torchkeep-fuzz-'))
const kept = values.keep ?? join(tmpdir(), `torchkeep-fuzz-${seed}`)
const corpus = join(scratch, 'corpus')
const python = process.env.TORCHKEEP_TEST_PYTHON
if (python !== undefined && existsSync(python))
  execFileSync(python, [new URL('corpus.py', import.meta.url).pathname, corpus])
else writeOwnCorpus(corpus)

/** A file or folder that is opened as one, and the files in it that are changed. */
const targets = readdirSync(corpus, { recursive: true, encoding: 'utf8' })
  .map((name) => join(corpus, name))
  .filter((path) => statSync(path).isFile() && path.includes(values.only))
  .map((path) => ({ path, opened: opened(path) }))
const others = targets.map(({ path }) => readFileSync(path))

/** What to open when `path` was changed: shards are opened through their index, parts of a distributed checkpoint through the folder. */
function opened(path) {
  if (path.includes('/distributed/')) return dirname(path)
  return path.includes('/sharded/') ? join(dirname(path), 'model.safetensors.index.json') : path
}

/** Ways to change a file, and whether each change must be noticed where CRC-32s protect the file. */
function mutationsOf(path) {
  const name = relative(corpus, path)
  const blind = { mutate: mutateBytes, blind: true }
  if (/^(zip|jit|cpp|pt2)\//.test(name))
    return [
      blind,
      { mutate: archive.mutateRecords },
      { mutate: archive.mutateRecords },
      { mutate: archive.mutateFields },
    ]
  if (name.endsWith('.distcp')) return [blind]
  if (name.endsWith('.json')) return [blind, { mutate: mutateJson }, { mutate: mutateJson }]
  if (name.endsWith('.metadata')) return [blind, { mutate: mutatePickle }, { mutate: mutatePickle }]
  if (name.endsWith('.safetensors')) return [blind, { mutate: archive.mutateSafetensors }]
  if (name.startsWith('tar/')) return [blind, { mutate: archive.mutateTar }, { mutate: archive.mutateLegacy }]
  return [blind, { mutate: archive.mutateLegacy }, { mutate: archive.mutateLegacy }]
}

/** Writes one changed file (with its neighbours) and returns what to open. */
function makeCase() {
  const { path, opened } = random.pick(targets)
  const { mutate, blind = false } = random.pick(mutationsOf(path))
  const bytes = mutate(random, readFileSync(path), others)
  const folder = join(scratch, 'case')
  rmSync(folder, { recursive: true, force: true })
  cpSync(dirname(path), folder, { recursive: true, filter: (from) => from === dirname(path) || opened !== path })
  writeFileSync(join(folder, basename(path)), bytes)
  const isFolder = opened === dirname(path)
  // A blind change that keeps the length cannot make check sums right again; one that moves blocks could build another sound archive.
  const sameOrNoticed =
    blind &&
    /^(zip|jit|cpp)\//.test(relative(corpus, path)) &&
    !path.includes('no_crc') &&
    bytes.length === statSync(path).size
  return {
    path: isFolder ? folder : join(folder, basename(opened)),
    original: opened,
    sameOrNoticed,
    folder,
    changed: relative(corpus, path),
  }
}

let child
let waiting
function startChild() {
  child?.removeAllListeners()
  child?.kill('SIGKILL')
  child = fork(new URL('worker.mjs', import.meta.url), [scratch], { execArgv: ['--max-old-space-size=512'] })
  child.on('message', (message) => waiting(message))
  child.on('exit', (code, signal) => waiting({ exited: signal ?? code }))
}

/** Runs one case; a child that says nothing for ten seconds is ended. */
function runCase(id, { path, original, sameOrNoticed }) {
  return new Promise((resolve) => {
    let operation = 'start'
    const stop = () => resolve({ complaints: [`${operation}: hangs`], dead: true })
    let timer = setTimeout(stop, 10_000)
    waiting = (message) => {
      clearTimeout(timer)
      if (message.exited !== undefined)
        resolve({ complaints: [`${operation}: the process ended with ${message.exited}`], dead: true })
      else if (message.complaints !== undefined) resolve(message)
      else {
        operation = message.started
        timer = setTimeout(stop, 10_000)
      }
    }
    child.send({ id, path, original, sameOrNoticed })
  })
}

function keep(id, { folder, changed }, complaints) {
  const place = join(kept, String(id))
  mkdirSync(place, { recursive: true })
  cpSync(folder, place, { recursive: true })
  writeFileSync(join(place, 'complaints.txt'), `${changed}\n${complaints.join('\n')}\n`)
  console.log(`\ncase ${id}, from ${changed}, kept in ${place}\n  ${complaints.join('\n  ')}`)
}

console.log(`seed ${seed}, ${targets.length} files, ${values.seconds} s`)
const outcomes = new Map()
const seen = new Map()
const end = Date.now() + 1000 * Number(values.seconds)
let id = 0
startChild()
for (; Date.now() < end; id++) {
  const oneCase = makeCase()
  const { complaints, refusedFor, dead } = await runCase(id, oneCase)
  outcomes.set(refusedFor, (outcomes.get(refusedFor) ?? 0) + 1)
  // The same complaint of many files is kept three times.
  const fresh = complaints.filter((text) => {
    const key = text
      .replace(/\d+/g, 'n')
      .replace(/torchkeep-fuzz-\w+/g, '')
      .slice(0, 400)
    seen.set(key, (seen.get(key) ?? 0) + 1)
    return seen.get(key) <= 3
  })
  if (fresh.length > 0) keep(id, oneCase, fresh)
  if (dead === true || id % 2000 === 1999) startChild()
}
child.removeAllListeners()
child.kill('SIGKILL')
rmSync(scratch, { recursive: true, force: true })
console.log(
  `\n${id} files; read as: ${[...outcomes]
    .sort(([, a], [, b]) => b - a)
    .map(([name, count]) => `${name} ${count}`)
    .join(', ')}`,
)
console.log(seen.size === 0 ? 'nothing to complain about' : `${seen.size} kinds of complaints`)
process.exit(seen.size === 0 ? 0 : 1)
