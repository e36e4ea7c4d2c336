/** Small models in both languages, with what is easily exported wrongly: dropout, running statistics, two inputs, one tensor under two names, embeddings. */
import { cat, nn, randint, randn, type Tensor } from '../../lib/index.js'

/** A model, an example of its inputs, and its class in Python. */
export interface Twin {
  make: () => nn.Module
  inputs: (rows: number) => Tensor[]
  autocast?: 'bfloat16'
  /** Python statements that define the class of this name. */
  python: { name: string; text: string }
}

class Cnn extends nn.Module {
  conv = new nn.Conv2d(1, 3, 3, { padding: 1 })
  bn = new nn.BatchNorm2d(3)
  drop = new nn.Dropout(0.4)
  out = new nn.Linear(27, 2)

  override forward(images: Tensor): Tensor {
    const found = nn.functional.maxPool2d(this.bn.call(this.conv.call(images)).relu(), 2)
    return this.out.call(this.drop.call(found.flatten(1)))
  }
}

const pythonCnn = `class Cnn(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(1, 3, 3, padding=1); self.bn = nn.BatchNorm2d(3); self.drop = nn.Dropout(0.4); self.out = nn.Linear(27, 2)
    def forward(self, images):
        found = nn.functional.max_pool2d(torch.relu(self.bn(self.conv(images))), 2)
        return self.out(self.drop(found.flatten(1)))`

class TwoInputs extends nn.Module {
  left = new nn.Linear(3, 5)
  right = new nn.Linear(4, 5)
  out = new nn.Linear(10, 2)

  override forward(left: Tensor, right: Tensor): [Tensor, Tensor] {
    const pair = cat([this.left.call(left).tanh(), this.right.call(right).sigmoid()], 1)
    return [this.out.call(pair), pair.mean(1)]
  }
}

const pythonTwoInputs = `class TwoInputs(nn.Module):
    def __init__(self):
        super().__init__()
        self.left = nn.Linear(3, 5); self.right = nn.Linear(4, 5); self.out = nn.Linear(10, 2)
    def forward(self, left, right):
        pair = torch.cat([torch.tanh(self.left(left)), torch.sigmoid(self.right(right))], 1)
        return self.out(pair), pair.mean(1)`

/** The output layer has the embedding's weights, as in language models. */
class Tied extends nn.Module {
  embedding = new nn.Embedding(11, 6)
  out = new nn.Linear(6, 11)

  constructor() {
    super()
    this.out.weight = this.embedding.weight
  }

  override forward(tokens: Tensor): Tensor {
    return this.out.call(this.embedding.call(tokens).mean(1))
  }
}

const pythonTied = `class Tied(nn.Module):
    def __init__(self):
        super().__init__()
        self.embedding = nn.Embedding(11, 6); self.out = nn.Linear(6, 11); self.out.weight = self.embedding.weight
    def forward(self, tokens):
        return self.out(self.embedding(tokens).mean(1))`

/** Letters to what filters found anywhere in the text. */
class Branch extends nn.Module {
  embedding: nn.Embedding
  conv = new nn.Conv1d(8, 6, 3)

  constructor(letters: number) {
    super()
    this.embedding = new nn.Embedding(letters, 8)
  }

  override forward(letters: Tensor): Tensor {
    return this.conv.call(this.embedding.call(letters).transpose(1, 2)).relu().amax(2)
  }
}

/** Drug and protein as letters, as in DeepDTA. */
class Affinity extends nn.Module {
  smiles = new Branch(13)
  protein = new Branch(7)
  hidden = new nn.Linear(12, 9)
  drop = new nn.Dropout(0.2)
  out = new nn.Linear(9, 1)

  override forward(smiles: Tensor, protein: Tensor): Tensor {
    const pair = cat([this.smiles.call(smiles) as Tensor, this.protein.call(protein) as Tensor], 1)
    return this.out.call(this.drop.call(this.hidden.call(pair).relu()))
  }
}

const pythonAffinity = `class Branch(nn.Module):
    def __init__(self, letters):
        super().__init__()
        self.conv = nn.Conv1d(8, 6, 3); self.embedding = nn.Embedding(letters, 8)
    def forward(self, letters):
        return torch.relu(self.conv(self.embedding(letters).transpose(1, 2))).amax(2)
class Affinity(nn.Module):
    def __init__(self):
        super().__init__()
        self.smiles = Branch(13); self.protein = Branch(7); self.hidden = nn.Linear(12, 9); self.drop = nn.Dropout(0.2); self.out = nn.Linear(9, 1)
    def forward(self, smiles, protein):
        pair = torch.cat([self.smiles(smiles), self.protein(protein)], 1)
        return self.out(self.drop(torch.relu(self.hidden(pair))))`

const mlp = (): nn.Module =>
  new nn.Sequential(new nn.Linear(5, 16), new nn.ReLU(), new nn.Dropout(0.3), new nn.Linear(16, 3))
const pythonMlp = `Mlp = lambda: nn.Sequential(nn.Linear(5, 16), nn.ReLU(), nn.Dropout(0.3), nn.Linear(16, 3))`

/** By the names of their exports. */
export const twins: Readonly<Record<string, Twin>> = {
  mlp: { make: mlp, inputs: (rows) => [randn([rows, 5])], python: { name: 'Mlp', text: pythonMlp } },
  autocast: {
    make: mlp,
    inputs: (rows) => [randn([rows, 5])],
    autocast: 'bfloat16',
    python: { name: 'Mlp', text: pythonMlp },
  },
  cnn: {
    make: () => new Cnn(),
    inputs: (rows) => [randn([rows, 1, 6, 6])],
    python: { name: 'Cnn', text: pythonCnn },
  },
  two: {
    make: () => new TwoInputs(),
    inputs: (rows) => [randn([rows, 3]), randn([rows, 4])],
    python: { name: 'TwoInputs', text: pythonTwoInputs },
  },
  tied: {
    make: () => new Tied(),
    inputs: (rows) => [randint(0, 11, [rows, 5])],
    python: { name: 'Tied', text: pythonTied },
  },
  affinity: {
    make: () => new Affinity(),
    inputs: (rows) => [randint(0, 13, [rows, 9]), randint(0, 7, [rows, 14])],
    python: { name: 'Affinity', text: pythonAffinity },
  },
}
