/** Whether the addon is built, loads, and fits the LibTorch that is installed. It is loaded in a child process: a wrong library can end a process. */
import { existsSync } from 'node:fs'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { packageRoot } from '../libtorch/build.js'
import { bad, ok, warn, type Finding } from './finding.js'
import type { FoundLibTorch } from '../libtorch/locate.js'
import type { ProbeReport } from './probe-addon.js'
import { runProcess, tailOf } from '../libtorch/run-process.js'

/** What is known of the addon. */
export interface AddonReport {
  /** Whether its file is there. */
  built: boolean
  /** What it says of itself; null when it does not load. */
  loaded: LoadedAddon | null
  finding: Finding
}

type LoadedAddon = Extract<ProbeReport, { error: null }>

const rebuild = 'npx torchkeep setup'

/** Loads the addon in a child process and compares it with the LibTorch in use. */
export async function checkAddon(libtorch: FoundLibTorch | undefined, env: NodeJS.ProcessEnv): Promise<AddonReport> {
  const kinds = env['TORCHKEEP_BUILD'] ? [env['TORCHKEEP_BUILD']] : ['Release', 'Debug'] // as lib/native.ts looks
  const files = kinds.map((kind) => join(packageRoot, 'build', kind, 'torchkeep.node'))
  const file = files.find((path) => existsSync(path))
  if (file === undefined)
    return {
      built: false,
      loaded: null,
      finding: bad('addon', `the addon is not built: found none of ${files.join(', ')}`, rebuild),
    }
  const child = await runProcess(process.execPath, [fileURLToPath(new URL('probe-addon.js', import.meta.url))], { env })
  if (child.status !== 0) {
    const end = child.signal === null ? `status ${child.status}` : `signal ${child.signal}`
    return {
      built: true,
      loaded: null,
      finding: bad('addon', `loading ${file} ends the process (${end}): ${tailOf(child.stderr)}`, rebuild),
    }
  }
  const report = JSON.parse(child.stdout) as ProbeReport
  if (report.error !== null) {
    return {
      built: true,
      loaded: null,
      finding: bad('addon', `${report.error.code}: ${report.error.message}`, ...report.error.suggestions),
    }
  }
  return { built: true, loaded: report, finding: judge(report, libtorch) }
}

function judge({ versions }: LoadedAddon, libtorch: FoundLibTorch | undefined): Finding {
  const { libtorchBuild, libtorchRuntime, libtorchPath } = versions
  const text = `the addon loads, built for LibTorch ${libtorchBuild} in ${libtorchPath}`
  if (libtorchBuild !== libtorchRuntime && !libtorchBuild.startsWith(libtorchRuntime)) {
    return bad(
      'addon',
      `ERR_ADDON_MISMATCH: the addon was built for LibTorch ${libtorchBuild} and runs with ${libtorchRuntime}`,
      rebuild,
    )
  }
  if (libtorch === undefined || libtorch.path === libtorchPath) return ok('addon', text)
  if (libtorch.version === libtorchBuild)
    return warn('addon', `${text}; ${libtorch.by} names another folder of the same version`, rebuild)
  return bad(
    'addon',
    `ERR_ADDON_MISMATCH: expected an addon for LibTorch ${libtorch.version} (${libtorch.by}: ${libtorch.path}), found one for ${libtorchBuild} (${libtorchPath})`,
    rebuild,
  )
}
