// DeepDTA (Öztürk, Özgür, Ozkirimli, Bioinformatics 34, i821-i829, 2018): predicts how strongly a molecule binds to a protein from their letters alone.
// As the authors' code has it, which differs from some descriptions: one filter length a branch for all three of its layers, no dropout after the last hidden layer, and
// padding is a letter like the others, with a learned row of its own. One difference: embeddings go to convolutions as [batch, channels, letters], as PyTorch wants it.
import { cat, nn } from 'torchkeep'

const embeddingDim = 128

/** What the model may be told; the defaults are the authors' for the Davis data. */
const defaults = {
  /** Filter lengths of the two branches. The authors searched 4 and 8 for SMILES, 8 and 12 for proteins. */
  smilesFilterLength: 4,
  proteinFilterLength: 8,
  /** Filters of the first layer of a branch; the second has twice, the third three times as many. */
  filters: 32,
  dropout: 0.1,
  /** `keras`: as the authors' library draws weights; `torch`: as PyTorch does. */
  initialisation: 'keras',
  /** Letters and padding; taken from the data where they are known. */
  smilesLetters: 65,
  proteinLetters: 26,
}

/** Letters [N, length] to 3 * filters values: what the filters found anywhere in the text. */
class Branch extends nn.Module {
  constructor(letters, filterLength, filters) {
    super()
    this.embedding = new nn.Embedding(letters, embeddingDim)
    this.conv1 = new nn.Conv1d(embeddingDim, filters, filterLength)
    this.conv2 = new nn.Conv1d(filters, 2 * filters, filterLength)
    this.conv3 = new nn.Conv1d(2 * filters, 3 * filters, filterLength)
  }

  forward(letters) {
    const embedded = this.embedding.call(letters).transpose(1, 2)
    const found = [this.conv1, this.conv2, this.conv3].reduce((value, conv) => conv.call(value).relu(), embedded)
    return found.amax(2)
  }
}

/** Inputs: SMILES and protein as int64 [N, length]. Output: affinity [N, 1]. */
export default class DeepDTA extends nn.Module {
  constructor(options = {}, { data } = {}) {
    super()
    const unknown = Object.keys(options).find((name) => !Object.hasOwn(defaults, name))
    if (unknown !== undefined)
      throw new Error(`unknown option '${unknown}', expected ${Object.keys(defaults).join(', ')}`)
    const [smilesLetters, proteinLetters] = data?.inputs.map(({ indices }) => indices) ?? []
    const settings = { ...defaults, ...(data && { smilesLetters, proteinLetters }), ...options }
    const { filters, dropout, initialisation } = settings
    this.smiles = new Branch(settings.smilesLetters, settings.smilesFilterLength, filters)
    this.protein = new Branch(settings.proteinLetters, settings.proteinFilterLength, filters)
    this.fc1 = new nn.Linear(6 * filters, 1024)
    this.drop1 = new nn.Dropout(dropout)
    this.fc2 = new nn.Linear(1024, 1024)
    this.drop2 = new nn.Dropout(dropout)
    this.fc3 = new nn.Linear(1024, 512)
    this.out = new nn.Linear(512, 1)
    if (initialisation === 'keras') this.resetAsKeras()
    else if (initialisation !== 'torch')
      throw new Error(`initialisation is '${initialisation}', expected keras or torch`)
  }

  /** Draws weights anew: Glorot uniform with zero biases, embeddings uniform within 0.05, the last layer normal with standard deviation 0.05. */
  resetAsKeras() {
    for (const module of this.modules()) {
      if (module instanceof nn.Embedding) nn.init.uniform_(module.weight, -0.05, 0.05)
      if (!(module instanceof nn.Conv1d || module instanceof nn.Linear)) continue
      if (module === this.out) nn.init.normal_(module.weight, 0, 0.05)
      else nn.init.xavierUniform_(module.weight)
      nn.init.zeros_(module.bias)
    }
  }

  forward(smiles, protein) {
    const pair = cat([this.smiles.call(smiles), this.protein.call(protein)], 1)
    const first = this.drop1.call(this.fc1.call(pair).relu())
    const second = this.drop2.call(this.fc2.call(first).relu())
    return this.out.call(this.fc3.call(second).relu())
  }
}
