/** A program for a child process of the doctor: loads the addon and prints what it says of itself as one line of JSON. */
import type { NativeAddon } from '../../lib/contract.js'
import { TorchkeepError } from '../format/errors.js'

/** The line that is printed. */
export type ProbeReport =
  | ({ error: null; versions: ReturnType<NativeAddon['versions']> } & ReturnType<NativeAddon['devices']>)
  | { error: { code: string; message: string; suggestions: string[] } }

async function probe(): Promise<ProbeReport> {
  try {
    const { addon: loadAddon } = await import('../../lib/native.js')
    const addon = loadAddon()
    return { error: null, versions: addon.versions(), ...addon.devices() }
  } catch (error) {
    if (error instanceof TorchkeepError)
      return { error: { code: error.code, message: error.message, suggestions: error.suggestions } }
    throw error
  }
}

void probe().then((report) => console.log(JSON.stringify(report)))
