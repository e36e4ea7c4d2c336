/** Names that somebody may have meant. */
import { distance } from 'fastest-levenshtein'

/** Up to `most` of the names that are close to what was typed, the closest first. Case does not count as a difference. */
export function nearNames(typed: string, names: Iterable<string>, most = 3): string[] {
  const wanted = typed.toLowerCase()
  // Two letters that changed places are two edits: `lits` is `list`. Of long names a quarter may be wrong.
  const limit = wanted.length < 4 ? 1 : Math.max(2, Math.floor(wanted.length / 4))
  return [...new Set(names)]
    .map((name) => ({ name, distance: closeness(wanted, name.toLowerCase()) }))
    .filter(({ distance }) => distance <= limit)
    .sort((a, b) => a.distance - b.distance || (a.name < b.name ? -1 : 1))
    .slice(0, most)
    .map(({ name }) => name)
}

/** Edits from one to the other; a name that only goes on from what was typed is one edit away, since people leave endings out. */
function closeness(wanted: string, name: string): number {
  return wanted.length >= 3 && name.startsWith(wanted)
    ? Math.min(1, name.length - wanted.length)
    : distance(wanted, name)
}
