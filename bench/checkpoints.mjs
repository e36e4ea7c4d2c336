// The checkpoint half of `npm run bench`: what looks at files, each figure beside its target, Python beside it where it does the same.
import { execFileSync } from 'node:child_process'
import { mkdirSync, mkdtempSync, rmSync, statSync, truncateSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { median } from './machine.mjs'

const here = (name) => new URL(name, import.meta.url).pathname
const torchkeep = [process.execPath, here('../bin/run.js')]
const listCount = 1000
const tensorCount = 20_000

/** Measures with the files of one temporary folder, which is removed in the end. */
export async function benchCheckpoints(options) {
  const folder = mkdtempSync(join(tmpdir(), 'torchkeep-bench-'))
  try {
    const bench = new Bench({ ...options, folder })
    console.log(`${'checkpoints'.padEnd(columns[0])}  ${'measured'.padEnd(columns[1])}  target\n`)
    bench.list()
    bench.reading()
    bench.tensors()
    bench.help()
    bench.memory()
  } finally {
    rmSync(folder, { recursive: true })
  }
}

const columns = [68, 28]
const print = (what, measured, target = '') =>
  console.log(`${what.padEnd(columns[0])}  ${measured.padEnd(columns[1])}  ${target}`.trimEnd())
const spread = (numbers, digits, unit) =>
  `${median(numbers).toFixed(digits)} ${unit} (${Math.min(...numbers).toFixed(digits)} to ${Math.max(...numbers).toFixed(digits)})`

/** Brings a file into the page cache. */
function bringIntoCache(path) {
  execFileSync('cat', [path], { stdio: ['ignore', 'ignore', 'inherit'] })
}

class Bench {
  #python
  #rounds
  #gib
  #folder

  constructor({ python, rounds, gib, folder }) {
    this.#python = python
    this.#rounds = rounds
    this.#gib = gib
    this.#folder = folder
  }

  #json(command, ...args) {
    return JSON.parse(execFileSync(command, args, { encoding: 'utf8', maxBuffer: 1 << 26 }))
  }

  /** A command in a process of its own: seconds and memory. */
  #measure(...command) {
    const measured = this.#json(this.#python, here('measure.py'), ...command)
    if (measured.status !== 0 && measured.status !== 1) throw new Error(`${command.join(' ')}: ${measured.stderr}`)
    return measured
  }

  #make(kind, path, amount) {
    return execFileSync(this.#python, [here('make_checkpoints.py'), kind, path, String(amount)], { encoding: 'utf8' })
  }

  #repeat(act) {
    return Array.from({ length: this.#rounds }, act)
  }

  list() {
    for (const model of ['perceptron', 'transformer']) {
      const folder = join(this.#folder, 'list')
      mkdirSync(folder)
      const [sizeBytes, records] = this.#make(model, folder, listCount).split(' ').map(Number)
      const measured = this.#repeat(() => this.#measure(...torchkeep, 'list', folder))
      const seconds = measured.map((one) => one.seconds)
      const python = this.#json(this.#python, here('load_checkpoints.py'), 'loop', folder).seconds
      const what = `${listCount} checkpoints of ${(sizeBytes / 1e6).toFixed(0)} MB, ${records} tensors each`
      print(`list of ${what}`, spread(seconds, 2, 's'), '< 0.6 s')
      const cpuSeconds = measured.map((one) => one.cpuSeconds)
      print('  processor time', spread(cpuSeconds, 2, 's'))
      const memory = measured.map((one) => one.maxRssMib)
      print('  most memory', spread(memory, 0, 'MiB'), '< 150 MiB')
      print('  a loop of torch.load over them, once', `${python.toFixed(1)} s`)
      print('  ratio', `${(python / median(seconds)).toFixed(0)}`, '> 40')
      rmSync(folder, { recursive: true })
    }
  }

  /**
   * On one core: from the page cache by processor time, which other processes disturb less, and from the disk by the clock. The share is of what reading costs where it costs: the page cache gives bytes
   * faster than any one core computes CRC-32.
   */
  reading() {
    const path = join(this.#folder, 'random.pth')
    this.#make('random', path, 1)
    const program = here('read-speed.mjs')
    for (const [where, key, cores, targets] of [
      ['page cache, one core', 'cpuSeconds', '0', { validate: '> 1 GB/s' }],
      ['page cache, all cores', 'seconds', null, {}],
      ['disk, one core', 'seconds', '0', { share: '> 80 %' }],
    ]) {
      const rounds = this.#repeat(() =>
        Object.fromEntries(
          ['read', 'crc', 'validate'].map((what) => {
            if (where.startsWith('disk')) execFileSync(this.#python, [here('evict.py'), path])
            else bringIntoCache(path)
            const prefix = cores === null ? [] : ['taskset', '-c', cores]
            const [command, ...args] = [...prefix, process.execPath, program, what, path]
            const measured = this.#json(command, ...args)
            return [what, measured.sizeBytes / 1e9 / measured[key]]
          }),
        ),
      )
      const rates = (what) => {
        const gigabytes = rounds.map((round) => round[what])
        return spread(gigabytes, 2, 'GB/s')
      }
      print(`validate on all levels, 1 GiB, ${where}`, rates('validate'), targets.validate)
      print('  CRC-32 alone', rates('crc'))
      print('  reading alone', rates('read'))
      const shares = rounds.map(({ read, crc }) => (100 * crc) / read)
      print('  speed of CRC-32 alone, of that of reading alone', spread(shares, 0, '%'), targets.share)
    }
    rmSync(path)
  }

  tensors() {
    const path = join(this.#folder, 'many.pth')
    this.#make('many', path, tensorCount)
    const rounds = this.#repeat(() =>
      this.#json(process.execPath, here('read-speed.mjs'), 'tensors', path, tensorCount),
    )
    const python = this.#json(this.#python, here('load_checkpoints.py'), 'tensors', path, tensorCount)
    const of = (key) => {
      const microseconds = rounds.map((round) => round[key])
      return spread(microseconds, 1, 'us')
    }
    print(`readTorchFile of ${tensorCount} tensors of 256 bytes, each`, of('best'), '< 10 us')
    print('  the first time in a process', of('first'))
    print('  torch.load, weights_only', `${python.safe.toFixed(1)} us`)
    print('  torch.load, not weights_only', `${python.unsafe.toFixed(1)} us`)
    rmSync(path)
  }

  help() {
    const milliseconds = this.#repeat(() => 1000 * this.#measure(...torchkeep, '--help').seconds)
    print('torchkeep --help, cold process', spread(milliseconds, 0, 'ms'), '< 300 ms')
  }

  /** Every command that looks at checkpoints, once each, on a file of zeros whose tensors are holes. */
  memory() {
    const run = join(this.#folder, 'run')
    mkdirSync(run)
    const path = join(run, 'checkpoint_epoch_30_phase_1_1760000000.pth')
    const other = join(this.#folder, 'other.pth')
    const cut = join(this.#folder, 'cut.pth')
    for (const target of [path, other, cut]) this.#make('zeros', target, this.#gib)
    truncateSync(cut, Math.floor(statSync(cut).size * 0.99))
    console.log(`\nmost memory on a file of ${(statSync(path).size / 2 ** 30).toFixed(1)} GiB with holes\n`)
    for (const args of [
      ['list', run],
      ['list', run, '--summary'],
      ['inspect', path],
      ['inspect', path, '--tensors', '--stats'],
      ['validate', path],
      ['validate', path, '--fast'],
      ['validate', path, '--with', other],
      ['compare', path, other],
      ['recover', '--scan', run],
      ['recover', cut, '--no-backup'],
      ['cleanup', run],
      ['cleanup', run, '--keep-last', '1'],
      ['best', run],
      ['history', path],
      ['tag', other],
      ['tag', other, '--title', 'large'],
    ]) {
      const { maxRssMib, seconds, status } = this.#measure(...torchkeep, ...args)
      const shown = args.map((arg) => arg.replace(`${this.#folder}/`, '').replace(/checkpoint_epoch\S+/, 'PATH'))
      const ended = status === 0 ? '' : `, ended with ${status}`
      print(`  ${shown.join(' ')}`, `${maxRssMib.toFixed(0)} MiB in ${seconds.toFixed(1)} s${ended}`, '< 150 MiB')
    }
  }
}
