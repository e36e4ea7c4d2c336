/** Names of people and machines that were found once: they are looked for everywhere, as whole words. */
import { hostname, userInfo } from 'node:os'
import type { Secret } from './secrets.js'

/** What a word names. */
export type IdentityKind = 'user_name' | 'host_name' | 'person_name'

/** Words of every machine and every training: accounts, roles, devices, parts of models. They tell nothing, and removing them would empty a configuration. */
const genericWords = new Set(
  (
    '127.0.0.1 0.0.0.0 ::1 root user users username admin administrator administrators localhost home guest host hostname ubuntu debian centos fedora alpine docker vagrant runner jenkins node nodes test tester testing default public shared all ' +
    'none null nil true false unknown anonymous nobody system daemon service www www-data dev developer devel prod production staging ec2-user azureuser gcp aws azure opc colab jovyan kaggle sagemaker conda mamba miniconda anaconda ' +
    'workspace work app apps api web docs mail git gitlab github me you team owner author staff student students lab research python node.js nodejs torch pytorch torchkeep linux windows darwin macos mac ' +
    'x86_64 amd64 arm64 aarch64 i386 cpu gpu cuda rocm mps xpu tpu auto data dataset datasets model models module modules train training trainer trained val valid validation eval evaluation infer inference predict sample samples ' +
    'batch epoch epochs phase phases step steps loss metric metrics config configs configuration metadata version format state weights weight bias layer layers encoder decoder embedding embeddings attention head heads linear conv conv1d ' +
    'conv2d norm batchnorm dropout relu gelu tanh sigmoid softmax lstm gru rnn mlp cnn gnn gin vit bert esm max min mean sum std var adam adamw sgd rmsprop adagrad lamb muon cosine constant plateau warmup mse mae rmse accuracy ' +
    'f1 auc auroc aupr pearson spearman input inputs output outputs hidden name names title description tags notes note kind type value values key keys seed device devices threads path paths file files folder tensor tensors float32 ' +
    'float16 bfloat16 float64 int64 int32 uint8 bool base large small tiny medium best latest last final first new old main master server client worker workers local remote global exports checkpoints checkpoint results result removed run runs ' +
    'log logs tmp var opt usr etc mnt media srv scratch project projects group shared email epoch_time license mit apache score monitor mode optimizer scheduler patience rate learning count total'
  ).split(' '),
)

/** Whether a word is of those that tell nothing. */
export const isGenericWord = (word: string): boolean => genericWords.has(word.toLowerCase())

/** Whether a word can be looked for: long enough, not generic, not a number. */
const tells = (word: string): boolean =>
  word.length >= 3 && word.length <= 200 && !isGenericWord(word) && /\p{L}/u.test(word) && !/[\r\n[\]]/.test(word)

const escaped = (word: string): string => word.replace(/[.*+?^${}()|[\]\\/]/g, '\\$&')

/** The names found so far. */
export class IdentityWords {
  readonly #kinds = new Map<string, IdentityKind>()
  #pattern: RegExp | null = null

  /** The account and the name of this machine. */
  static ofThisMachine(): IdentityWords {
    const words = new IdentityWords()
    const host = hostname()
    words.add(host, 'host_name')
    words.add(host.split('.')[0] ?? '', 'host_name')
    // Accounts without an entry in the system's list (containers) have no name.
    try {
      words.add(userInfo().username, 'user_name')
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== 'ERR_SYSTEM_ERROR') throw error
    }
    return words
  }

  /** Adds a word, where it tells something. */
  add(word: string, kind: IdentityKind): void {
    const trimmed = word.trim()
    if (!tells(trimmed) || this.#kinds.has(trimmed.toLowerCase())) return
    this.#kinds.set(trimmed.toLowerCase(), kind)
    this.#pattern = null
  }

  /** Adds the names that paths, addresses and logins in a text tell; `names` are of layers and no hosts. */
  addFrom(text: string, names?: ReadonlySet<string>): void {
    for (const { pattern, kind } of telling)
      for (const match of text.matchAll(pattern)) {
        const name = match[1] ?? ''
        if (names?.has(name) === true) continue
        this.add(name, kind)
        if (kind === 'host_name') this.add(name.split('.')[0] ?? '', kind)
      }
  }

  /** Where the words stand in a text: whatever their case, bounded by anything but letters and digits. */
  find(text: string): Secret[] {
    if (this.#kinds.size === 0) return []
    this.#pattern ??= new RegExp(
      `(?<![\\p{L}\\p{N}])(?:${[...this.#kinds.keys()]
        .sort((left, right) => right.length - left.length)
        .map(escaped)
        .join('|')})(?![\\p{L}\\p{N}])`,
      'giu',
    )
    return [...text.matchAll(this.#pattern)].map((match) => ({
      kind: this.#kinds.get(match[0].toLowerCase()) ?? 'user_name',
      start: match.index,
      end: match.index + match[0].length,
    }))
  }
}

/** Where a text tells a name. */
const telling: readonly { pattern: RegExp; kind: IdentityKind }[] = [
  {
    kind: 'user_name',
    pattern:
      /(?<![\p{L}\p{N}])(?:home|Users|Documents and Settings|export\/home|nfs\/home)[\\/]+([^\\/\s"'<>:;,*?|$[\]]{3,64})(?=[\\/\s"';:,]|$)/gu,
  },
  { kind: 'user_name', pattern: /(?<![\p{L}\p{N}_/~.])~([a-z_][\w-]{2,31})\//gu },
  { kind: 'user_name', pattern: /(?<![\w$])(?:USER|LOGNAME|USERNAME)=([A-Za-z_][\w.-]{2,63})/g },
  { kind: 'user_name', pattern: /\b(?:ssh|scp|sftp|rsync)\s+(?:-\w+\s+)*([a-z_][\w.-]{2,31})@/g },
  { kind: 'user_name', pattern: /(?<![\w.@+-])(?!git@)([a-z_][\w.-]{2,31})@[A-Za-z][\w.-]{1,100}:[~/\w]/g },
  {
    kind: 'host_name',
    pattern:
      /(?<![\w$])(?:HOSTNAME|COMPUTERNAME|SLURMD_NODENAME|SLURM_SUBMIT_HOST|MASTER_ADDR)=([A-Za-z][\w.-]{2,100})/g,
  },
  { kind: 'host_name', pattern: /(?<![\w.@+-])[a-z_][\w.-]{0,31}@([A-Za-z][\w-]{2,62}):[~/]/g },
  {
    kind: 'host_name',
    pattern:
      /(?<![\w.@-])([A-Za-z0-9][A-Za-z0-9-]{2,62}(?:\.[A-Za-z0-9-]+){0,6}\.(?:local|lan|internal|intranet|corp|localdomain))(?![\w-]|\.[\w*])/g,
  },
  {
    kind: 'person_name',
    pattern:
      /^[^\S\r\n]*(?:author|committer|signed-off-by|co-authored-by|reviewed-by)\s*:\s*(\p{Lu}[\p{L}'.-]+(?: \p{Lu}[\p{L}'.-]+){1,3})(?=\s*[<(\r\n]|\s*$)/gimu,
  },
]
