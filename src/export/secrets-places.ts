/** Where files lie: paths of this machine, shares, buckets, and URLs that tell more than a public page. */
import type { SecretPattern } from './secrets.js'
import { isPublicHost } from './secrets-network.js'

/** Folders at the root of Unix systems and clusters: one step below them is a path already. */
const roots =
  'home|Users|root|mnt|media|data\\d*|datasets?|scratch\\d*|var|tmp|opt|etc|usr|srv|gpfs|lustre|beegfs|nfs\\d*|net|work|workspaces?|proj(?:ects?)?|storage\\d*|raid\\d*|ssd\\d*|nvme\\d*|cluster|shared|group|private|Volumes|content|kaggle|dbfs|run|dev|proc|app|vol\\d*|export|efs|fsx|s3|afs|cvmfs|checkpoints|models'

/** A part of a path, without what separates words in prose and SMILES. */
const part = '[\\p{L}\\p{N}_.@+~%#-]+'
const spacedPart = '[^\\r\\n"\'<>|*?/\\\\]+'

/** See {@link SecretPattern}. */
export const placePatterns: readonly SecretPattern[] = [
  { kind: 'file_url', pattern: /\bfile:\/{1,3}[^\s"'<>]+/dgi },
  {
    kind: 'cloud_uri',
    pattern:
      /\b(?:s3[an]?|gs|gcs|az|azure|azureml|abfss?|wasbs?|adl|hdfs|webhdfs|viewfs|dbfs|oss|cos|obs|swift|b2|r2|lakefs|sftp|ftps?|scp|rsync|smb|nfs|ssh|gdrive|onedrive|dropbox|mlflow-artifacts|wandb-artifact|runs|models|clearml):\/{1,3}[^\s"'<>]+/dgi,
  },
  { kind: 'cloud_uri', pattern: /\bdbfs:\/[^\s"'<>]+|\barn:aws[\w-]*:[^\s"'<>]+/dg },
  {
    kind: 'url_with_credentials',
    pattern: /\b[a-z][a-z0-9+.-]{1,20}:\/\/[^\s/"'<>@]{1,200}@[^\s"'<>]+/dgi,
  },
  { kind: 'url_with_query', pattern: /\b(?:https?|wss?):\/\/[^\s"'<>?#]+\?[^\s"'<>)\]]+/dgi },
  {
    kind: 'private_url',
    pattern: /\b(?:https?|wss?|grpc|tcp|udp):\/\/(?<host>\[[^\]\s]+\]|[^\s/"'<>:?#@]+)[^\s"'<>]*/dgi,
    accept: (url) => !isPublicHost(/:\/\/(\[[^\]]+\]|[^/:?#]+)/.exec(url)?.[1] ?? ''),
  },
  { kind: 'git_remote', pattern: /(?<![\w.-])git@[\w.-]+:[\w./~-]+/dg },
  { kind: 'ssh_target', pattern: /(?<![\w.@+-])[a-z_][\w.-]{0,40}@[A-Za-z][\w.-]{1,100}:[~/\w][^\s"']*/dgi },
  {
    kind: 'ssh_target',
    pattern: /\b(?:ssh|scp|sftp|rsync|mosh)\s+(?:-\w+\s+(?:\S+\s+)?)*(?<secret>[a-z_][\w.-]{0,40}@[\w.-]{2,100})/dgi,
  },
  {
    kind: 'windows_path',
    pattern: new RegExp(`(?<=^|["'])[A-Za-z]:[\\\\/]+(?:${spacedPart}[\\\\/]+)*(?:${spacedPart})?(?=$|["'])`, 'dgmu'),
    accept: (path) => /[\\/]/.test(path.slice(2)) && path.length > 3,
  },
  {
    kind: 'windows_path',
    pattern: new RegExp(`(?<![\\p{L}\\p{N}])[A-Za-z]:(?:\\\\+|/(?!/))${part}(?:[\\\\/]+${part})*`, 'dgu'),
  },
  {
    kind: 'unc_path',
    pattern: new RegExp(`(?<![\\p{L}\\p{N}\\])=#@\\\\])\\\\{2,4}${part}(?:\\\\+${part})+\\\\*`, 'dgu'),
  },
  {
    kind: 'posix_path',
    // Quoted, or the whole line: then blanks belong to it.
    pattern: new RegExp(`(?<=^|["'])/(?:${roots})/(?:${spacedPart}/)*(?:${spacedPart})?(?=$|["'])`, 'dgmu'),
  },
  {
    kind: 'posix_path',
    pattern: new RegExp(
      `(?<![\\p{L}\\p{N}_.~:/)\\]}<>*%@-])/(?:(?:${roots})(?![\\p{L}\\p{N}_])|${part}/${part})(?:/${part}|\\\\ ${part})*/?`,
      'dgu',
    ),
  },
  // After the colon of a search path or a mount, and of `key:/path`.
  {
    kind: 'posix_path',
    pattern: new RegExp(`(?<=[\\w"']:)/(?!/)(?:(?:${roots})(?![\\p{L}\\p{N}_])|${part}/${part})(?:/${part})*/?`, 'dgu'),
  },
  { kind: 'posix_path', pattern: /^\/[\w.-]{2,}\/?$/dg },
  {
    kind: 'home_path',
    pattern: new RegExp(`(?<![\\p{L}\\p{N}_/~.])~(?:[a-z_][\\w-]{0,31})?/${part}(?:/${part})*`, 'dgu'),
  },
  { kind: 'home_path', pattern: /(?:\$HOME|\$\{HOME\}|%USERPROFILE%|%APPDATA%)[\\/][^\s"'<>]+/dg },
]
