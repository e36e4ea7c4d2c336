/** Addresses and names of machines. */
import { isIPv4, isIPv6 } from 'node:net'
import type { SecretPattern } from './secrets.js'

/** Ends of names that only a private network has. */
const privateEnds = 'local|localdomain|lan|internal|intranet|corp|private|home\\.arpa|localnet|domain|cluster'

/**
 * Ends of public names. Not those that files and members of modules have too (`.py`, `.md`, `.pt`, `.rs`, `.io`, `.net`, `.in`): names of parameters and files must survive.
 */
const publicEnds =
  'com|org|edu|gov|mil|eu|de|fr|ch|at|nl|be|uk|es|dk|se|fi|pl|cz|ie|jp|cn|kr|tw|sg|au|nz|ca|us|br|mx|ru|ua|il|tr|cloud|dev|tech|academy|university|science|institute|systems|solutions|network|global'

/** See {@link SecretPattern}. */
export const networkPatterns: readonly SecretPattern[] = [
  {
    kind: 'ipv4_address',
    pattern: /(?<![\w.-])(?:\d{1,3}\.){3}\d{1,3}(?:\/\d{1,2})?(?::\d{2,5})?(?![\w-]|\.\d)/dg,
    accept: isAddress,
  },
  {
    kind: 'ipv6_address',
    pattern:
      /(?<![\w:.])\[?[0-9A-Fa-f]{0,4}(?::[0-9A-Fa-f]{0,4}){2,7}(?:(?<=:)(?:\d{1,3}\.){3}\d{1,3})?(?:%\w+)?(?:\/\d{1,3})?(?![\w:])\]?/dg,
    accept: isIPv6Address,
  },
  {
    kind: 'mac_address',
    pattern: /(?<![\w:-])(?:[0-9A-Fa-f]{2}:){5}[0-9A-Fa-f]{2}(?:(?::[0-9A-Fa-f]{2}){2})?(?![\w:-])/dg,
  },
  {
    kind: 'mac_address',
    // With hyphens, six numbers may be sizes of layers.
    pattern: /(?<![\w:-])(?:[0-9A-Fa-f]{2}-){5}[0-9A-Fa-f]{2}(?![\w:-])/dg,
    accept: (address) => /[A-Fa-f]/.test(address),
  },
  {
    kind: 'host_name',
    pattern: new RegExp(
      `(?<![\\w.@-])(?:[A-Za-z0-9][A-Za-z0-9-]{0,62}\\.){1,8}(?:${privateEnds})(?![\\w-]|\\.[\\w*])`,
      'dgi',
    ),
    accept: (name, before) => !/[\\/]$/.test(before) && !/^(?:self|this|torch|nn|np|config|cfg|args)\./.test(name),
  },
  {
    kind: 'host_name',
    pattern: new RegExp(
      `(?<![\\w.@-])(?:[A-Za-z0-9][A-Za-z0-9-]{0,62}\\.){2,8}(?:${publicEnds})(?![\\w-]|\\.[\\w*])`,
      'dgi',
    ),
    accept: (name) => !isPublicHost(name),
  },
  { kind: 'host_name', pattern: /(?<![\w-])ip-\d{1,3}-\d{1,3}-\d{1,3}-\d{1,3}(?![\w-])/dg },
]

/** Addresses that every machine has, and what says that a version follows. */
function isAddress(text: string, before: string): boolean {
  const address = text.replace(/[/:].*$/, '')
  if (!isIPv4(address) || /^(?:127\.|0\.0\.0\.0$|255\.255\.255\.)/.test(address)) return false
  return !/(?:[=<>!~^]=?|\b(?:v|ver|version|versions|release|build|rev|revision|cudnn|cuda|nccl|driver|python|torch|numpy|rocm|hip|mkl|openmp|glibc|tensorrt|onnx))["']?\s*[:=]?\s*["']?$/i.test(
    before,
  )
}

function isIPv6Address(text: string): boolean {
  const address = text.replace(/^\[|\]$/g, '').replace(/[/%].*$/, '')
  if (!isIPv6(address) || /^(?:::1?|0{0,4}(?::0{0,4}){6}:0{0,3}1?)$/.test(address)) return false
  const groups = address.split(':').filter((group) => group !== '')
  // `::2`, `a::b`: slices and names with colons.
  return groups.length >= 3 || (groups.length === 2 && groups.some((group) => group.length >= 3))
}

/** Sites that anybody may name. */
const publicSites = new Set([
  ...[
    'github.com',
    'gitlab.com',
    'huggingface.co',
    'arxiv.org',
    'doi.org',
    'pytorch.org',
    'python.org',
    'pypi.org',
    'npmjs.com',
    'nodejs.org',
  ],
  ...[
    'kaggle.com',
    'zenodo.org',
    'wikipedia.org',
    'wikimedia.org',
    'readthedocs.io',
    'openreview.net',
    'nature.com',
    'sciencedirect.com',
    'springer.com',
  ],
  ...[
    'ieee.org',
    'acm.org',
    'nih.gov',
    'ebi.ac.uk',
    'rcsb.org',
    'uniprot.org',
    'tensorflow.org',
    'numpy.org',
    'scipy.org',
    'apache.org',
    'mozilla.org',
  ],
  ...[
    'creativecommons.org',
    'opensource.org',
    'spdx.org',
    'gnu.org',
    'w3.org',
    'json-schema.org',
    'medium.com',
    'youtube.com',
    'google.com',
    'example.com',
    'example.org',
  ],
])

/** Whether a host of a URL tells nothing: a known public site, or a bare domain (with `www.`). Addresses, names without a dot and names of machines inside a domain do. */
export function isPublicHost(host: string): boolean {
  const name = host.toLowerCase().replace(/\.$/, '')
  if (/^(?:localhost|127\.[\d.]+|0\.0\.0\.0|\[::1?\])$/.test(name)) return true
  if (name.startsWith('[') || isIPv4(name) || !name.includes('.')) return false
  if (new RegExp(`\\.(?:${privateEnds})$`).test(name)) return false
  const labels = name.replace(/^www\./, '').split('.')
  return labels.length === 2 || labels.some((_label, index) => publicSites.has(labels.slice(index).join('.')))
}
