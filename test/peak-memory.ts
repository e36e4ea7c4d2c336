import { readFileSync } from 'node:fs'

/**
 * The most memory that this process has held since it began, in KiB. Not `process.resourceUsage().maxRSS` on Linux: a child begins with the maximum of the process that made it.
 */
export function peakMemoryKib(): number {
  if (process.platform !== 'linux') return process.resourceUsage().maxRSS
  const [, kib] = /^VmHWM:\s+(\d+) kB$/m.exec(readFileSync('/proc/self/status', 'latin1')) ?? []
  return Number(kib)
}
