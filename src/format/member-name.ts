/** Names of files that a file of unknown origin gives: they must stay in its folder. */
import { fault, quoted } from './fault.js'

/** Refuses a name that is more than the name of one file in the folder: separators, `..`, drives, null bytes. */
export function requireMemberName(path: string, name: string): string {
  if (name !== '' && name !== '.' && name !== '..' && !/[/\\:\0]/.test(name)) return name
  const found = { finding: 'shard.name', subject: name.slice(0, 200), code: 'ERR_CHECKPOINT_UNSAFE' } as const
  return fault(path, found, `${quoted(name)} is no name of a file in the same folder`)
}
