/** Keys whose values should not be shared, whatever these look like: `password`, `author`, `hostname`, `latitude`. */
import { isScrubbed } from './secrets.js'
import { isUsualVariable } from './secrets-machines.js'
import { isGenericWord, type IdentityKind } from './secrets-words.js'

/** What a key says of its value. */
export interface TellingKey {
  kind: string
  /** Whether values are names to be looked for everywhere. */
  names: IdentityKind | null
  /** Which values are meant; texts that are empty, generic or scrubbed never are. */
  accept: (value: string | number | bigint) => boolean
}

const anyText = (value: string | number | bigint): boolean => typeof value === 'string'
/** A number counts where it is long: a vocabulary may number the word `password`. */
const anything = (value: string | number | bigint): boolean => typeof value === 'string' || String(value).length >= 6
/** A name of a machine and not of a layer: `gcn` under `node`. */
const likeHost = (value: string | number | bigint): boolean => typeof value === 'string' && /[\d.-]/.test(value)
/** Without blanks, with a digit: no word of a vocabulary (`"<pad>"`), no sentence. */
const likeKey = (value: string | number | bigint): boolean =>
  typeof value === 'string' &&
  value.length >= 8 &&
  /^[^\s<>]+$/.test(value) &&
  /\d/.test(value) &&
  /[A-Za-z]/.test(value)
const fraction = (value: string | number | bigint): boolean => /^[-+]?\d{1,3}\.\d*[1-9]\d*/.test(String(value))

/** First match wins. Names are in snake case; `(?:.*_)?` lets anything stand before. */
const rules: readonly (TellingKey & { name: RegExp })[] = [
  {
    kind: 'password',
    names: null,
    accept: anything,
    name: /^(?:.*_)?(?:password|passwd|passphrase|passcode|pwd|passwort)(?:_hash)?$/,
  },
  {
    kind: 'credential',
    names: null,
    accept: anything,
    name: /^(?:.*_)?(?:secrets?|secret_(?:key|access_key|token|id)|credentials?|api_?keys?|access_key(?:_id)?|private_key|signing_key|encryption_key|account_key|auth_key|ssh_key|sas|client_secret|license_key|webhook(?:_url)?|otp|totp|mnemonic|seed_phrase|kubeconfig|client_key_data|certificate(?:_authority)?(?:_data)?)$/,
  },
  {
    kind: 'token',
    names: null,
    accept: anyText,
    name: /^(?:.*_)?(?:api|auth|access|refresh|bearer|session|security|personal_access|oauth|bot|hf|huggingface|hub|github|gitlab|slack|wandb|npm|pypi|csrf|sas|id|service|deploy|databricks|heroku|discord|telegram|kaggle|docker|registry|device)_token$/,
  },
  { kind: 'token', names: null, accept: likeKey, name: /^(?:token|auth|authentication)$/ },
  { kind: 'cookie', names: null, accept: anyText, name: /^(?:.*_)?(?:set_)?cookies?$|^(?:php|j)?session_?id$/ },
  {
    kind: 'authorization_header',
    names: null,
    accept: anyText,
    name: /^(?:proxy_|x_)?(?:authorization|auth_header|api_key_header)$/,
  },
  {
    kind: 'database_url',
    names: null,
    accept: anyText,
    name: /^(?:.*_)?(?:connection_string|conn_str|dsn|database_url|db_url|db_uri|sqlalchemy_url|mongo_uri|redis_url|broker_url)$/,
  },
  { kind: 'email', names: null, accept: anyText, name: /^(?:.*_)?e?mail(?:_address(?:es)?|s)?$/ },
  {
    kind: 'phone_number',
    names: null,
    accept: anything,
    name: /^(?:.*_)?(?:phone|telephone|mobile|fax|cell_?phone|whatsapp)(?:_number|_no)?$/,
  },
  {
    kind: 'postal_address',
    names: null,
    accept: (value) => typeof value === 'string' || String(value).length >= 4,
    name: /^(?:(?:.*_)?(?:street|home|postal|mailing|billing|shipping|residential)_address|address(?:_line(?:_\d)?)?|street|zip_?code|postal_?code|postcode)$/,
  },
  {
    kind: 'card_number',
    names: null,
    accept: anything,
    name: /^(?:.*_)?(?:credit_card|card_number|cc_number|cvv|cvc|iban|bic|account_number|routing_number|bank_account)$/,
  },
  {
    kind: 'national_id',
    names: null,
    accept: anything,
    name: /^(?:.*_)?(?:ssn|social_security(?:_number)?|passport(?:_number|_no)?|national_id|tax_id|nino|driver_?licen[cs]e|insurance_number|medical_record(?:_number)?|mrn|patient_id|employee_id|personnel_number|date_of_birth|birth_?date|birthday|dob)$/,
  },
  { kind: 'orcid', names: null, accept: anything, name: /^(?:.*_)?orcid(?:_id)?$/ },
  {
    kind: 'gps_coordinates',
    names: null,
    accept: fraction,
    name: /^(?:.*_)?(?:lat|latitude|lon|lng|longitude|gps|gps_coordinates|geo_?location|gps_position)$/,
  },
  {
    kind: 'user_name',
    names: 'user_name',
    accept: anyText,
    name: /^(?:.*_)?(?:user|user_?name|login|log_?name|user_id|unix_user|owner|run_by|submitted_by|created_by|uploaded_by|launched_by|trained_by|sudo_user|wandb_entity|slurm_account|slurm_job_user)$/,
  },
  {
    kind: 'person_name',
    names: 'person_name',
    accept: anyText,
    name: /^(?:.*_)?(?:authors?|maintainers?|creators?|contact(?:_person|_name)?s?|operator_name|supervisor|advisor|annotators?|full_name|first_name|last_name|given_name|family_name|surname|real_name|person(?:_name)?|patient_name|principal_investigator|contributors?|committer)$/,
  },
  {
    kind: 'host_name',
    names: 'host_name',
    accept: anyText,
    name: /^(?:.*_)?(?:host|host_?names?|hosts|node_?name|node_?list|machine_name|computer_?name|server_name|master_addr(?:ess)?|fqdn|workstation|login_node|submit_host)$/,
  },
  { kind: 'host_name', names: 'host_name', accept: likeHost, name: /^(?:.*_)?(?:node|machine|server)$/ },
  {
    kind: 'machine_id',
    names: null,
    accept: anything,
    name: /^(?:.*_)?(?:machine_id|hardware_id|hwid|serial(?:_number|_no)?|boot_id|instance_id|mac_address|imei|gpu_uuid|container_id|asset_tag)$/,
  },
  {
    kind: 'tracked_run',
    names: null,
    accept: anything,
    name: /^(?:wandb|mlflow|comet|neptune|clearml|experiment|tracking)_(?:run_?)?(?:id|url|uri|key)$|^run_(?:id|url|uri|link)$|^tracking_ur[il]$/,
  },
  { kind: 'slurm_job', names: null, accept: () => true, name: /^(?:slurmd?|sbatch|pbs|lsb|sge)_.*$|^job_?id$/ },
  { kind: 'ip_address', names: null, accept: anyText, name: /^(?:.*_)?ip(?:_addr(?:ess)?)?(?:es|s)?$/ },
  {
    kind: 'absolute_path',
    names: null,
    accept: (value) => typeof value === 'string' && /^(?:[\\/~]|[A-Za-z]:[\\/])/.test(value),
    name: /^(?:.*_)?(?:path|paths|dir|dirs|directory|folder|root|file|filename|cwd|pwd|workdir|home)$/,
  },
]

const cache = new Map<string, TellingKey | null>()

/** What a key says of its value; null for nearly all keys. */
export function tellingKey(key: string): TellingKey | null {
  if (key.length > 100) return null
  const known = cache.get(key)
  if (known !== undefined) return known
  const rule = findRule(key)
  if (cache.size > 10_000) cache.clear()
  cache.set(key, rule)
  return rule
}

function findRule(key: string): TellingKey | null {
  if (isUsualVariable(key) && key.length > 4) return { kind: 'environment', names: null, accept: anyText }
  const snake = key
    .replace(/([a-z0-9])([A-Z])/g, '$1_$2')
    .replace(/[\s.-]+/g, '_')
    .replace(/^_+/, '')
    .toLowerCase()
  return rules.find(({ name }) => name.test(snake)) ?? null
}

/** Whether a value under such a key is to go. */
export function isToldBy(rule: TellingKey, value: string | number | bigint): boolean {
  if (typeof value === 'string' && (isScrubbed(value) || /^[-–.?*x]+$/i.test(value))) return false
  if (typeof value === 'string' && rule.names !== null && isGenericWord(value)) return false
  // Kinds of texts, as schemas and vocabularies have them.
  if (
    typeof value === 'string' &&
    /^(?:none|null|str|string|int|integer|float|number|required|optional|any|<[^>]*>|\$\{?\w+\}?)$/i.test(value)
  )
    return false
  return rule.accept(value)
}

/** Whether a dict is a dump of the environment. */
export function isEnvironment(keys: readonly unknown[]): boolean {
  return keys.filter((key) => typeof key === 'string' && isUsualVariable(key)).length >= 3
}
