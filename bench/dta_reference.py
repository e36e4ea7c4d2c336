"""DeepDTA in plain PyTorch, as a peer of examples/dta: `python bench/dta_reference.py JOBS` trains each job for some steps and prints a line of JSON.

A job: folder (affinities.csv, drugs.csv, proteins.csv, folds.json), alphabets and lengths of smiles and protein, fold, batch_size, steps, seed. Nothing here reads
Torchkeep's files: texts are encoded, batches made and weights drawn in PyTorch's own way, so that equal losses mean something.
"""
import csv, hashlib, json, sys
import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

torch.set_num_threads(1)


class Branch(nn.Module):
    def __init__(self, letters, filter_length, filters):
        super().__init__()
        self.embedding = nn.Embedding(letters, 128)
        self.conv1 = nn.Conv1d(128, filters, filter_length)
        self.conv2 = nn.Conv1d(filters, 2 * filters, filter_length)
        self.conv3 = nn.Conv1d(2 * filters, 3 * filters, filter_length)

    def forward(self, letters):
        x = self.embedding(letters).transpose(1, 2)
        for conv in (self.conv1, self.conv2, self.conv3):
            x = torch.relu(conv(x))
        return x.amax(2)


class DeepDTA(nn.Module):
    def __init__(self, smiles_letters, protein_letters, smiles_filter=4, protein_filter=8, filters=32, dropout=0.1):
        super().__init__()
        self.smiles = Branch(smiles_letters, smiles_filter, filters)
        self.protein = Branch(protein_letters, protein_filter, filters)
        self.fc1 = nn.Linear(6 * filters, 1024)
        self.drop1 = nn.Dropout(dropout)
        self.fc2 = nn.Linear(1024, 1024)
        self.drop2 = nn.Dropout(dropout)
        self.fc3 = nn.Linear(1024, 512)
        self.out = nn.Linear(512, 1)
        for module in self.modules():
            if isinstance(module, nn.Embedding):
                nn.init.uniform_(module.weight, -0.05, 0.05)
            if isinstance(module, (nn.Conv1d, nn.Linear)):
                nn.init.normal_(module.weight, 0, 0.05) if module is self.out else nn.init.xavier_uniform_(module.weight)
                nn.init.zeros_(module.bias)

    def forward(self, smiles, protein):
        x = torch.cat([self.smiles(smiles), self.protein(protein)], 1)
        x = self.drop1(torch.relu(self.fc1(x)))
        x = self.drop2(torch.relu(self.fc2(x)))
        return self.out(torch.relu(self.fc3(x)))


def column(folder, name, key):
    with open(f'{folder}/{name}.csv', newline='') as file:
        return [row[key] for row in csv.DictReader(file)]


def encoded(texts, alphabet, length):
    numbers = {letter: number for number, letter in enumerate(alphabet, 1)}
    rows = [[numbers[letter] for letter in text[:length]] for text in texts]
    return torch.tensor([row + [0] * (length - len(row)) for row in rows])


def run(job):
    folder, fold = job['folder'], job['fold']
    drugs = encoded(column(folder, 'drugs', 'smiles'), job['smiles']['alphabet'], job['smiles']['length'])
    proteins = encoded(column(folder, 'proteins', 'sequence'), job['protein']['alphabet'], job['protein']['length'])
    pairs = [[int(row) for row in column(folder, 'affinities', key)] for key in ('drug_index', 'protein_index')]
    values = torch.tensor([[float(value)] for value in column(folder, 'affinities', 'affinity')])
    folds = json.load(open(f'{folder}/folds.json'))['train_folds']
    training = [row for number, rows in enumerate(folds) if number != fold for row in rows]
    loader_of = lambda rows: DataLoader(TensorDataset(*(torch.tensor(indices)[rows] for indices in pairs), values[rows]), batch_size=job['batch_size'], shuffle=False)
    torch.manual_seed(job['seed'])
    model = DeepDTA(len(job['smiles']['alphabet']) + 1, len(job['protein']['alphabet']) + 1)
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-3, eps=1e-7)
    loss_of = lambda d, p, y: nn.functional.mse_loss(model(drugs[d], proteins[p]), y)
    loader, validation = loader_of(training), loader_of(folds[fold])
    losses = []
    while True:
        model.train()
        for d, p, y in loader:
            optimizer.zero_grad()
            loss = loss_of(d, p, y)
            loss.backward()
            optimizer.step()
            losses.append(loss.item())
            if len(losses) == job['steps']:
                return {'losses': losses, 'state': {name: digest(tensor) for name, tensor in model.state_dict().items()}}
        # Its loader draws from the generator too, so dropout of the next epoch depends on it.
        model.eval()
        with torch.no_grad():
            for d, p, y in validation:
                loss_of(d, p, y)


def digest(tensor):
    return hashlib.sha256(tensor.detach().contiguous().numpy().tobytes()).hexdigest()


print(json.dumps([run(job) for job in json.loads(sys.argv[1])]))
