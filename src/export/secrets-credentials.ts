/** Keys, certificates, connection strings, headers, and passwords that a text calls by their name. */
import type { SecretPattern } from './secrets.js'

/** Names before a `=` or `:` in a text whose value opens doors. Those of dicts are in `secrets-telling-keys.ts`. */
const secretName =
  '(?:[\\w.-]{0,40}[_.-])?(?:pass(?:word|wd|phrase|code)?|pwd|secret(?:[_-]?(?:key|access[_-]?key|token))?|api[_-]?key|apikey|access[_-]?key(?:[_-]?id)?|private[_-]?key|(?:auth|access|refresh|bearer|api|session|security|client|bot|github|gitlab|hf|hub|wandb|slack)[_-]?token|client[_-]?secret|account[_-]?key|credentials?)'

/** See {@link SecretPattern}. */
export const credentialPatterns: readonly SecretPattern[] = [
  {
    kind: 'private_key',
    // One that does not end is taken to the end of the text.
    pattern: /-----BEGIN (?:[A-Z0-9]+ ){0,4}PRIVATE KEY(?: BLOCK)?-----[\s\S]*?(?:-----END [A-Z0-9 ]{0,40}-----|$)/dg,
  },
  {
    kind: 'certificate',
    pattern:
      /-----BEGIN (?!(?:[A-Z0-9]+ ){0,4}PRIVATE KEY)[A-Z0-9 ]{3,40}-----[\s\S]*?(?:-----END [A-Z0-9 ]{0,40}-----|$)/dg,
  },
  {
    kind: 'ssh_key',
    pattern:
      /(?<![\w-])(?:ssh-(?:rsa|dss|ed25519)|ecdsa-sha2-nistp\d{3}|sk-(?:ssh-ed25519|ecdsa-sha2-nistp256)@openssh\.com) AAAA[\w+/=]{10,}(?: [^\s"']+)?|SHA256:[A-Za-z0-9+/]{43}(?![\w+/])/dg,
  },
  {
    kind: 'jwt',
    pattern: /(?<![\w-])eyJ[\w-]{8,}\.[\w-]{8,}(?:\.[\w-]*)?/dg,
  },
  {
    kind: 'authorization_header',
    pattern:
      /\b(?:proxy-)?authorization["']?\s*[:=]\s*(?<secret>["']?(?:(?:basic|bearer|token|digest|negotiate|aws4-hmac-sha256|apikey)\s+)?[^\s"'][^\r\n"']*)/dgi,
  },
  { kind: 'authorization_header', pattern: /\b(?:Bearer|Basic)\s+(?<secret>[\w.~+/-]{16,}=*)/dg, accept: hasDigit },
  {
    kind: 'authorization_header',
    pattern:
      /\bx-(?:api-key|auth-token|access-token|amz-security-token|csrf-token)["']?\s*[:=]\s*["']?(?<secret>[^\s"',;]+)/dgi,
  },
  { kind: 'cookie', pattern: /\b(?:set-)?cookie["']?\s*:\s*(?<secret>[^\s"'][^\r\n"']*=[^\r\n"']*)/dgi },
  {
    kind: 'cookie',
    pattern: /\b(?:sessionid|session_id|phpsessid|jsessionid|csrftoken|connect\.sid)=(?<secret>[^\s"';,]+)/dgi,
  },
  {
    kind: 'database_url',
    pattern:
      /\b(?:jdbc:)?(?:postgres(?:ql)?|mysql|mariadb|mssql|sqlserver|oracle|mongodb|redis|rediss|amqps?|clickhouse|cassandra|couchdb|neo4j|bolt|snowflake|ldaps?|influxdb|elasticsearch|cockroachdb|nats|kafka|sqlite)(?:\+\w+)?:\/\/[^\s"'<>]+/dgi,
  },
  { kind: 'database_url', pattern: /\bjdbc:[a-z0-9]+:[^\s"'<>]+/dgi },
  {
    kind: 'database_url',
    // ADO and ODBC: `Server=db;Database=x;User Id=y;Password=z`.
    pattern:
      /\b(?:server|data source|host|driver)\s*=[^;\r\n]{1,200};(?:[^;\r\n]{1,200};){0,20}\s*(?:password|pwd|user id|uid)\s*=[^;\r\n]*;?/dgi,
  },
  {
    kind: 'password',
    pattern: new RegExp(
      `(?<![A-Za-z0-9])${secretName}["']?\\s*(?:=>|:=|=|:)\\s*(?<secret>"[^"\\r\\n]+"|'[^'\\r\\n]+'|[^\\s"',;&]{3,})`,
      'dgi',
    ),
    accept: isSecretValue,
  },
  {
    kind: 'password',
    pattern: new RegExp(
      `(?<![\\w-])--?${secretName}[= ](?<secret>"[^"\\r\\n]+"|'[^'\\r\\n]+'|[^\\s"'-][^\\s"']{2,})`,
      'dgi',
    ),
    accept: isSecretValue,
  },
  {
    kind: 'password',
    pattern:
      /\b(?:password|passphrase|passwort|mot de passe|contrase(?:n|ñ)a)\s+(?:is|was|ist|est|es)\s+(?<secret>[^\s"',;]{3,})/dgi,
  },
]

/** Words that programs write where no secret is. */
function isSecretValue(value: string): boolean {
  const word = value.replace(/^["']|["'.]$/g, '')
  return !/^(?:null|none|nil|true|false|undefined|required|optional|str|string|int|bool|\d{1,2}|\*+|x+|<[^>]*>|\$\{?\w+\}?|%\w+%|\[removed.*)$/i.test(
    word,
  )
}

function hasDigit(value: string): boolean {
  return /\d/.test(value)
}
