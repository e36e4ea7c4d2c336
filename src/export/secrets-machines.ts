/** What tells a machine, a job or a tracked run. */
import type { SecretPattern } from './secrets.js'

/** Variables that the environment of nearly every process has: a block with one of them is a dump of it. */
const usualVariables =
  'PATH|HOME|USER|LOGNAME|SHELL|PWD|OLDPWD|LANG|TERM|HOSTNAME|TMPDIR|LD_LIBRARY_PATH|PYTHONPATH|VIRTUAL_ENV|CONDA_PREFIX|SSH_CONNECTION|SSH_CLIENT|DISPLAY|XDG_RUNTIME_DIR|USERPROFILE|COMPUTERNAME|USERNAME|APPDATA|KUBERNETES_SERVICE_HOST'

/** Whether a key is a variable of every process's environment. */
export const isUsualVariable = (name: string): boolean => new RegExp(`^(?:${usualVariables})$`).test(name)

/** See {@link SecretPattern}. */
export const machinePatterns: readonly SecretPattern[] = [
  {
    kind: 'uuid',
    pattern:
      /(?<![0-9A-Za-z])(?:GPU-|MIG-|urn:uuid:|\{)?[0-9a-fA-F]{8}-[0-9a-fA-F]{4}-[0-9a-fA-F]{4}-[0-9a-fA-F]{4}-[0-9a-fA-F]{12}\}?(?![0-9A-Za-z])/dg,
  },
  {
    kind: 'tracked_run',
    pattern:
      /(?<![\w.-])(?:https?:\/\/)?(?:[\w-]{1,63}\.){0,6}(?:wandb\.ai|comet\.com|comet\.ml|neptune\.ai|app\.clear\.ml|mlflow\.org|dagshub\.com|tensorboard\.dev)\/[^\s"'<>]+/dgi,
  },
  { kind: 'tracked_run', pattern: /\b(?:offline-)?run-\d{8}_\d{6}-[a-z0-9]{8}\b/dg },
  {
    kind: 'slurm_job',
    pattern: /\b(?:SLURM|SLURMD|SBATCH|PBS|LSB|SGE|OAR)_\w+\s*[=:]\s*(?<secret>"[^"\r\n]*"|'[^'\r\n]*'|[^\s"',;]+)/dg,
  },
  { kind: 'slurm_job', pattern: /\bslurm-\d+(?:[_-]\d+)?(?:\.\w+)*\.(?:out|err|log)\b/dgi },
  {
    kind: 'slurm_job',
    pattern:
      /\b(?:slurm|pbs|lsf|sge)?\s?job[\s_-]?(?:id|number)["']?\s*[:=#]?\s*(?<secret>\d{3,}(?:[._]\d+)?(?:\.[\w-]+)*)/dgi,
  },
  {
    kind: 'slurm_job',
    pattern: /(?<![\w.-])[A-Za-z][\w-]*\[\d+(?:-\d+)?(?:,\d+(?:-\d+)?)*\](?![\w.])/dg,
    accept: isNodeList,
  },
  {
    kind: 'environment',
    // A line with a usual variable, and the lines of variables around it.
    pattern: new RegExp(
      `(?:^(?:export )?[A-Za-z_]\\w*=[^\\r\\n]*\\r?\\n){0,200}^(?:export )?(?:${usualVariables})=[^\\r\\n]*(?:\\r?\\n(?:export )?[A-Za-z_]\\w*=[^\\r\\n]*){0,200}`,
      'dgm',
    ),
  },
  { kind: 'environment', pattern: new RegExp(`(?<![\\w$])(?:${usualVariables})=(?<secret>[^\\s"';]+)`, 'dg') },
  {
    kind: 'serial_number',
    pattern:
      /\b(?:serial(?:[ _-]?(?:number|no\.?))?|s\/n|asset tag|imei|machine[ _-]?id)\s*[:#=]\s*(?<secret>[A-Za-z0-9][\w-]{5,40})/dgi,
  },
]

/** `gpu[01-04]`: numbers with leading zeros, or a range behind a word for a machine. `x[0]` and `blocks[1]` are places in a list. */
function isNodeList(text: string): boolean {
  return /\[0\d/.test(text) || /^[\w-]*(?:node|gpu|host|nid|compute)[\w-]*\[\d+-/i.test(text)
}
