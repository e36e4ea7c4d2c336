/**
 * Finds in a text what a shared model should not tell: who made it, on which machine, and what opens doors. The tables are in `secrets-*.ts`, by subject.
 *
 * Own tables and not a library's: rule sets of secret scanners (gitleaks, secretlint, detect-secrets) know tokens but no people, machines or paths, look for them in source code, where a hash or a name of a layer is no
 * false alarm worth avoiding, and come with dozens of packages or another language. The forms of tokens are those that the services document.
 */
import { isRandomText, randomTokens } from './secrets-entropy.js'
import { machinePatterns } from './secrets-machines.js'
import { networkPatterns } from './secrets-network.js'
import { peoplePatterns } from './secrets-people.js'
import { placePatterns } from './secrets-places.js'
import { serviceTokenPatterns } from './secrets-service-tokens.js'
import { credentialPatterns } from './secrets-credentials.js'
import type { IdentityWords } from './secrets-words.js'

/** One form of something that should not be shared. */
export interface SecretPattern {
  /** Its name in reports: `email`. */
  readonly kind: string
  /** With the flags `gd` at least. Where it has a group `secret`, that is the secret, else the whole match. Linear in the length of the text. */
  readonly pattern: RegExp
  /** Whether a match really is one: checksums, values that stand in the same form for something else. `before` is the text up to the secret. */
  readonly accept?: (secret: string, before: string, after: string) => boolean
}

/** A place in a text. */
export interface Secret {
  kind: string
  /** In UTF-16 units; end exclusive. */
  start: number
  end: number
}

/** What is known besides the text. */
export interface SecretContext {
  /** Names of people and machines, see `secrets-words.ts`. */
  words?: IdentityWords
  /** Dotted names (of parameters, modules) that are no host names though they look like some. */
  names?: ReadonlySet<string>
  /** Texts that may stay. */
  allowed?: ReadonlySet<string>
  /** The key that the text stands under: `1.2.3.4` under `driver_version` is a version. */
  key?: string
}

/** Every form that is looked for in texts, whatever key they stand under. */
export const secretPatterns: readonly SecretPattern[] = [
  ...credentialPatterns,
  ...serviceTokenPatterns,
  ...placePatterns,
  ...networkPatterns,
  ...peoplePatterns,
  ...machinePatterns,
  { kind: 'high_entropy_string', pattern: randomTokens, accept: isRandomText },
]

/** What stands in place of a secret. */
export const removed = (kind: string): string => `[removed: ${kind}]`

/** Placeholders of {@link removed}; what is between them is searched on its own, so that a scrubbed text has no secret by construction. */
const placeholders = /\[removed: [a-z0-9_]+\]/g

/** Whether nothing but placeholders and blanks is left. */
export const isScrubbed = (text: string): boolean => /^(?:\s|\[removed: [a-z0-9_]+\])*$/.test(text)

/** All secrets of a text, in order, without overlap. Where several forms meet in a place, it is called after the longest. */
export function findSecrets(text: string, context: SecretContext = {}): Secret[] {
  const found: Secret[] = []
  let from = 0
  for (const [start, end] of [...skipped(text, context.allowed), [text.length, text.length] as const]) {
    if (start < from) continue
    for (const secret of searchPlain(text.slice(from, start), context))
      found.push({ kind: secret.kind, start: secret.start + from, end: secret.end + from })
    from = end
  }
  return found
}

/** What is not searched: placeholders, and texts that may stay. */
function skipped(text: string, allowed: ReadonlySet<string> = new Set()): (readonly [number, number])[] {
  const places = [...text.matchAll(placeholders)].map(
    ({ index, 0: placeholder }) => [index, index + placeholder.length] as const,
  )
  for (const item of allowed)
    for (let at = text.indexOf(item); at >= 0 && item !== ''; at = text.indexOf(item, at + item.length))
      places.push([at, at + item.length])
  return places.sort(([left], [right]) => left - right)
}

/** The text without its secrets, and the kinds of what left, once for each. */
export function scrubText(text: string, context: SecretContext = {}): { text: string; kinds: string[] } {
  const kinds: string[] = []
  let rest = text
  // What a removal leaves may be a secret itself, now that something else stands beside it. Each round leaves fewer letters.
  for (let found = findSecrets(rest, context); found.length > 0; found = findSecrets(rest, context)) {
    let out = ''
    let from = 0
    for (const { kind, start, end } of found) {
      out += rest.slice(from, start) + removed(kind)
      from = end
      kinds.push(kind)
    }
    rest = out + rest.slice(from)
  }
  return { text: rest, kinds }
}

function searchPlain(text: string, { words, names, key }: SecretContext): Secret[] {
  if (text.length < 3) return []
  const matches: Secret[] = [...(words?.find(text) ?? [])]
  for (const { kind, pattern, accept } of secretPatterns)
    for (const match of text.matchAll(pattern)) {
      const [start, end] = match.indices?.groups?.['secret'] ?? [match.index, match.index + match[0].length]
      const secret = text.slice(start, end)
      if (isScrubbed(secret) || accept?.(secret, text.slice(0, start), text.slice(end)) === false) continue
      if (kind === 'host_name' && names?.has(secret) === true) continue
      if (kind === 'ipv4_address' && key !== undefined && /version|release|build|driver|cudnn/i.test(key)) continue
      matches.push({ kind, start, end })
    }
  return merged(matches)
}

function merged(matches: Secret[]): Secret[] {
  const out: (Secret & { longest: number })[] = []
  for (const { kind, start, end } of matches.sort((left, right) => left.start - right.start || right.end - left.end)) {
    const last = out.at(-1)
    if (last === undefined || start >= last.end) out.push({ kind, start, end, longest: end - start })
    else {
      if (end - start > last.longest) Object.assign(last, { kind, longest: end - start })
      last.end = Math.max(last.end, end)
    }
  }
  return out.map(({ kind, start, end }) => ({ kind, start, end }))
}
