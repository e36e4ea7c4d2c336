/** What tells a person: addresses, numbers, documents. Numbers count only where a checksum or a word beside them says what they are. */
import type { SecretPattern } from './secrets.js'

const streetWords =
  'Street|St\\.?|Avenue|Ave\\.?|Road|Rd\\.?|Boulevard|Blvd\\.?|Lane|Ln\\.?|Drive|Dr\\.?|Court|Ct\\.?|Square|Sq\\.?|Terrace|Highway|Hwy\\.?|Parkway|Pkwy\\.?|Crescent|Place'

/** See {@link SecretPattern}. */
export const peoplePatterns: readonly SecretPattern[] = [
  {
    kind: 'email',
    pattern:
      /(?<![\p{L}\p{N}.!#$%&'*+/=?^_`{|}~-])[\p{L}\p{N}._%+'-]{1,64}@(?:[\p{L}\p{N}](?:[\p{L}\p{N}-]{0,62}))(?:\.[\p{L}\p{N}-]{1,63}){0,8}\.\p{L}{2,24}(?![\p{L}\p{N}-])/dgu,
  },
  {
    kind: 'email',
    pattern:
      /(?<![\w.-])[\w.+-]{1,64}\s?(?:\[at\]|\(at\)|\{at\}|<at>| AT )\s?[\w-]{1,63}(?:\s?(?:\[dot\]|\(dot\)|\{dot\}|<dot>| DOT |\.)\s?[\w-]{2,63}){1,5}(?![\w-])/dgi,
    accept: (text) => /[[({<]at[\])}>]| AT /.test(text),
  },
  {
    kind: 'phone_number',
    pattern: /(?<![\w.+-])(?:\+|00)[1-9]\d{0,2}(?:[ ./-]?\(?\d{1,5}\)?){2,6}(?![\w-]|\.\d)/dg,
    accept: isInternationalNumber,
  },
  {
    kind: 'phone_number',
    pattern: /(?<![\w.-])(?:\([2-9]\d{2}\) ?|[2-9]\d{2}[-.])[2-9]\d{2}[-.]\d{4}(?![\w-]|\.\d)/dg,
    accept: (text) => text.startsWith('(') || !areSizes(text),
  },
  {
    kind: 'phone_number',
    pattern:
      /\b(?:tel(?:efon|ephone)?|phone|mobile|mobil|fax|cell|call|whatsapp|sms)(?:\s*(?:no|nr|number|nummer))?\.?\s*[:=]?\s*(?<secret>\(?\d[\d ()./-]{5,18}\d)(?![\w.])/dgi,
  },
  {
    kind: 'postal_address',
    pattern: new RegExp(
      `(?<![\\w.-])\\d{1,5}[A-Za-z]?\\s+(?:(?:[NSEW]\\.?|North|South|East|West)\\s+)?(?:[A-Z][\\p{L}'-]{1,30}\\s+){1,4}(?:${streetWords})(?![\\p{L}])(?:,?[^\\S\\r\\n]*(?:Apt|Suite|Unit|Floor|#)\\.?\\s*\\w+)?(?:,[^\\S\\r\\n]*[\\p{L}][\\p{L} .'-]{1,40}){0,3}(?:,?\\s*[A-Z]{2}[^\\S\\r\\n]+)?(?:,?\\s*\\d{5}(?:-\\d{4})?)?`,
      'dgu',
    ),
  },
  {
    kind: 'postal_address',
    pattern:
      /(?<![\p{L}\p{N}])\p{Lu}[\p{L}.-]{1,30}(?:stra(?:ß|ss)e|str\.|weg|platz|allee|gasse)\s+\d{1,4}[a-z]?(?:,?\s+(?:[A-Z]{1,2}-)?\d{4,5}\s+\p{Lu}\p{L}+(?:[ -]\p{Lu}\p{L}+)*)?(?![\p{L}\p{N}])/dgu,
  },
  {
    kind: 'postal_address',
    pattern:
      /(?<![\p{L}\p{N}])\d{1,4}(?:\s?(?:bis|ter))?,?\s+(?:rue|avenue|boulevard|chemin|impasse|quai|calle|plaza|rua)\s+[\p{L}][\p{L} '-]{2,40}(?:,?\s+\d{4,5}\s+\p{Lu}[\p{L}-]+)?/dgu,
  },
  { kind: 'postal_address', pattern: /\bP\.?\s?O\.?\s?Box\s+\d{1,6}\b/dgi },
  { kind: 'card_number', pattern: /(?<![\w.-])(?:\d[ -]?){12,18}\d(?![\w-]|\.\d)/dg, accept: isCardNumber },
  {
    kind: 'iban',
    pattern: /(?<![A-Za-z0-9])[A-Z]{2}\d{2}(?: ?[A-Z0-9]{4}){2,7}(?: ?[A-Z0-9]{1,3})?(?![A-Za-z0-9])/dg,
    accept: isIban,
  },
  {
    kind: 'national_id',
    // US social security numbers.
    pattern: /(?<![\w.-])(?!000|666|9\d\d)\d{3}-(?!00)\d{2}-(?!0000)\d{4}(?![\w-]|\.\d)/dg,
    accept: (text) => !areSizes(text),
  },
  {
    kind: 'national_id',
    pattern: /(?<![\w-])[A-CEGHJ-PR-TW-Z][A-CEGHJ-NPR-TW-Z] ?\d{2} ?\d{2} ?\d{2} ?[A-D](?![\w-])/dg,
  },
  { kind: 'national_id', pattern: /(?<![\w-])(?:\d{8}|[XYZ]\d{7})-?[A-HJ-NP-TV-Z](?![\w-])/dg, accept: isSpanishId },
  {
    kind: 'national_id',
    pattern: /(?<![\w.-])[12] ?\d{2} ?(?:0[1-9]|1[0-2]) ?(?:\d{2}|2[AB]) ?\d{3} ?\d{3} ?\d{2}(?![\w-]|\.\d)/dg,
    accept: isFrenchId,
  },
  { kind: 'national_id', pattern: /(?<![\w-])[A-Z]{6}\d{2}[ABCDEHLMPRST]\d{2}[A-Z]\d{3}[A-Z](?![\w-])/dg },
  { kind: 'national_id', pattern: /(?<![\w.-])\d{3}\.\d{3}\.\d{3}-\d{2}(?![\w-])/dg },
  {
    kind: 'national_id',
    pattern:
      /\b(?:ssn|social security(?: number| no\.?)?|passport(?: number| no\.?)?|national id|tax id|steuer-?id|nino|pesel|aadhaar|bsn|personnummer|driver'?s? licen[cs]e)\s*[:#=]?\s*(?<secret>[A-Z]{0,3}\d[\dA-Z -]{4,18}[\dA-Z])(?![\w])/dgi,
  },
  {
    kind: 'orcid',
    pattern: /(?<![\w-])0000-000\d-\d{4}-\d{3}[\dX](?![\w-])|(?<![\w-])0009-\d{4}-\d{4}-\d{3}[\dX](?![\w-])/dg,
    accept: isOrcid,
  },
  {
    kind: 'gps_coordinates',
    pattern:
      /\b(?:(?:lat|lon|lng|long|geo|coordinates?)["']?\s*[:=]|(?:latitude|longitude|gps)["']?\s*[:=]?)\s*(?<secret>[-+]?\d{1,3}\.\d{3,}(?:\s*°?\s*[NSEW])?(?:\s*[,;/]\s*(?:lon(?:g(?:itude)?)?|lng)?["']?\s*[:=]?\s*[-+]?\d{1,3}\.\d{3,}(?:\s*°?\s*[NSEW])?)?)/dgi,
  },
  {
    kind: 'gps_coordinates',
    pattern:
      /\d{1,3}(?:\.\d+)?\s?°\s?(?:\d{1,2}(?:\.\d+)?\s?['′]\s?(?:\d{1,2}(?:\.\d+)?\s?["″]\s?)?)?[NSEWO](?![\p{L}])/dgu,
  },
  {
    kind: 'git_author',
    pattern:
      /^[^\S\r\n]*(?:author|committer|commit by|signed-off-by|co-authored-by|reviewed-by|acked-by|tested-by|reported-by|merged by)\s*:\s*(?<secret>\S[^\r\n]*)/dgim,
  },
  {
    kind: 'person_name',
    pattern:
      /\b(?:(?:trained|created|written|made|run|submitted|prepared|maintained|developed|labelled|labeled|annotated) by|contact|e-?mail|ask)\s*:?\s+(?<secret>\p{Lu}\p{Ll}+(?:[ -]\p{Lu}\.?)?[ -]\p{Lu}\p{Ll}+)(?!\p{L})/dgu,
  },
  {
    kind: 'person_name',
    pattern: /(?<!\p{L})(?:Mr|Mrs|Ms|Dr|Prof)\.? (?<secret>\p{Lu}\p{Ll}+(?:[ -]\p{Lu}\p{Ll}+){0,2})(?!\p{L})/dgu,
  },
]

/** Numbers that are sizes (of layers: 512-256-1024) are multiples of four, one and all. */
function areSizes(text: string): boolean {
  return (text.match(/\d+/g) ?? []).every((part) => Number(part) % 4 === 0)
}

function isInternationalNumber(text: string): boolean {
  const digits = text.replace(/\D/g, '').replace(/^00/, '')
  // A sign and a decimal point make a number.
  if (/^\+?\d+(?:\.\d+)?$/.test(text) && text.includes('.')) return false
  if (text.startsWith('00') && !/[ /-]/.test(text)) return false
  return digits.length >= 8 && digits.length <= 15
}

function isCardNumber(text: string): boolean {
  const digits = text.replace(/\D/g, '')
  const issuer =
    /^(?:4\d{12}(?:\d{3}){0,2}|5[1-5]\d{14}|2(?:2[2-9]|[3-6]\d|7[01])\d{13}|3[47]\d{13}|3(?:0[0-5]|[68]\d)\d{11}|6(?:011|5\d{2}|4[4-9]\d)\d{12}|35(?:2[89]|[3-8]\d)\d{12}|62\d{14,17})$/
  if (!issuer.test(digits)) return false
  const sum = [...digits].reverse().reduce((total, digit, index) => {
    const value = Number(digit) * (index % 2 === 1 ? 2 : 1)
    return total + (value > 9 ? value - 9 : value)
  }, 0)
  return sum % 10 === 0
}

/** ISO 13616: letters are numbers from 10, and the number is 1 modulo 97. */
function isIban(text: string): boolean {
  const iban = text.replace(/ /g, '')
  if (iban.length < 15 || iban.length > 34) return false
  const digits = `${iban.slice(4)}${iban.slice(0, 4)}`.replace(/[A-Z]/g, (letter) => String(letter.charCodeAt(0) - 55))
  return BigInt(digits) % 97n === 1n
}

/** The letter is told by the number modulo 23. */
function isSpanishId(text: string): boolean {
  const digits = text.slice(0, 8).replace(/^[XYZ]/, (letter) => String('XYZ'.indexOf(letter)))
  return 'TRWAGMYFPDXBNJZSQVHLCKE'[Number(digits) % 23] === text.at(-1)
}

/** The last two digits are 97 less the rest modulo 97; Corsica's 2A and 2B count as 19 and 18. */
function isFrenchId(text: string): boolean {
  const id = text.replace(/ /g, '').replace('2A', '19').replace('2B', '18')
  return id.length === 15 && 97n - (BigInt(id.slice(0, 13)) % 97n) === BigInt(id.slice(13))
}

/** ISO 7064, MOD 11-2. */
function isOrcid(text: string): boolean {
  const digits = text.replace(/-/g, '')
  const total = [...digits.slice(0, 15)].reduce((sum, digit) => (sum + Number(digit)) * 2, 0)
  const check = (12 - (total % 11)) % 11
  return digits.at(-1) === (check === 10 ? 'X' : String(check))
}
