/**
 * Looks into wheels and unpacks them, with the zipfile module of the Python whose pip fetched them: wheels of torch are large, compressed zip files,
 * and that Python is there in any case.
 */
import { createHash } from 'node:crypto'
import { createReadStream } from 'node:fs'
import { basename } from 'node:path'
import { TorchkeepError } from '../format/errors.js'
import type { UsedWheel } from './cache.js'
import { knownWheels } from './known-wheels.js'
import { runProcess, tailOf } from './run-process.js'

/** What a wheel says of itself. */
export interface WheelInfo {
  path: string
  /** Distribution name, lower case: `torch`. */
  name: string
  version: string
  /** `Requires-Dist` lines as they stand. */
  requirements: string[]
  /** Files with their unpacked sizes. */
  files: { name: string; sizeBytes: number }[]
}

const listProgram = `import json, sys, zipfile
with zipfile.ZipFile(sys.argv[1]) as wheel:
    files = [{'name': i.filename, 'sizeBytes': i.file_size} for i in wheel.infolist() if not i.is_dir()]
    metadata = next(f['name'] for f in files if f['name'].count('/') == 1 and f['name'].endswith('.dist-info/METADATA'))
    print(json.dumps({'files': files, 'metadata': wheel.read(metadata).decode()}))`

const unpackProgram = `import json, sys, zipfile
names = json.load(sys.stdin)
with zipfile.ZipFile(sys.argv[1]) as wheel:
    for name in names:
        wheel.extract(name, sys.argv[2])`

/** Reads a wheel's list of files and its METADATA. Throws `ERR_LIBTORCH_MISSING` when the file is no wheel. */
export async function readWheel(python: string, path: string): Promise<WheelInfo> {
  const result = await runProcess(python, ['-c', listProgram, path])
  if (result.status !== 0)
    throw new TorchkeepError('ERR_LIBTORCH_MISSING', `${path} is not a readable wheel: ${tailOf(result.stderr, 1)}`)
  const { files, metadata } = JSON.parse(result.stdout) as { files: WheelInfo['files']; metadata: string }
  const header = metadata.split(/\r?\n\r?\n/, 1)[0] ?? ''
  const fields = (key: string) =>
    [...header.matchAll(new RegExp(`^${key}: *(.*)$`, 'gm'))].map((match) => (match[1] ?? '').trim())
  const [name = '', version = ''] = [fields('Name')[0], fields('Version')[0]]
  return { path, name: name.toLowerCase(), version, requirements: fields('Requires-Dist'), files }
}

/** Unpacks some files of a wheel below a folder; zipfile checks each one's CRC-32 and keeps names from leaving the folder. */
export async function unpackWheel(
  python: string,
  wheel: WheelInfo,
  files: WheelInfo['files'],
  folder: string,
): Promise<void> {
  const result = await runProcess(python, ['-c', unpackProgram, wheel.path, folder], {
    stdin: JSON.stringify(files.map((file) => file.name)),
  })
  if (result.status !== 0)
    throw new TorchkeepError(
      'ERR_LIBTORCH_MISSING',
      `Unpacking ${basename(wheel.path)} failed: ${tailOf(result.stderr, 3)}`,
    )
}

/** Hashes a wheel and compares it with our table. `fetched` wheels that carry a known name must have the known hash. */
export async function identifyWheel(path: string, fetched: boolean): Promise<UsedWheel> {
  const hash = createHash('sha256')
  let sizeBytes = 0
  for await (const chunk of createReadStream(path, { highWaterMark: 1 << 20 })) {
    hash.update(chunk as Buffer)
    sizeBytes += (chunk as Buffer).length
  }
  const file = basename(path)
  const sha256 = hash.digest('hex')
  const expected = knownWheels[file]
  if (fetched && expected !== undefined && expected.sha256 !== sha256) {
    throw new TorchkeepError(
      'ERR_LIBTORCH_MISSING',
      `pip fetched ${file} with sha256 ${sha256}; the public wheel of that name has ${expected.sha256}`,
      {
        suggestions: [
          "Ask whoever runs pip's index why its wheel differs",
          'To use a wheel that you trust: npx torchkeep setup --from WHEEL',
        ],
      },
    )
  }
  return { file, sha256, sizeBytes, known: expected?.sha256 === sha256 }
}
