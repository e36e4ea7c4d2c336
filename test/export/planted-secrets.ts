/** Secrets of every kind, for planting. Put together from parts here, so that no scanner takes this file for a leak. None is real: all are of reserved ranges, made-up names or repeated letters. */

/** A secret inside the text that it is planted as. */
export interface PlantedSecret {
  name: string
  /** What must not be found anywhere afterwards. */
  secret: string
  text: string
}

/** Letters and digits that look random and are always the same. */
export function randomLetters(length: number, alphabet = 'aB3dE5fG7hJ9kL2mN4pQ6rS8tU1vW0xYzZcC'): string {
  let state = 12345
  return Array.from({ length }, () => {
    state = (state * 1103515245 + 12345) % 2147483648
    return alphabet[Math.floor((state / 2147483648) * alphabet.length)]
  }).join('')
}
const hex = (length: number): string => randomLetters(length, '0123456789abcdef')
const capitals = (length: number): string => randomLetters(length, 'ABCDEFGHJKLMNPQRSTUVWXYZ234567')

const plain = (name: string, ...parts: string[]): PlantedSecret => ({
  name,
  secret: parts.join(''),
  text: `see ${parts.join('')} for it`,
})
const within = (name: string, secret: string, text: (secret: string) => string): PlantedSecret => ({
  name,
  secret,
  text: text(secret),
})

/** One of each kind and more. */
export const plantedSecrets: readonly PlantedSecret[] = [
  plain('email', 'jane.roe', '@', 'example', '.org'),
  plain('email in brackets', 'jane.roe', ' [at] ', 'example', ' [dot] org'),
  plain('IPv4', '192.168', '.17.4'),
  plain('IPv4 with port', '203.0', '.113.9:29500'),
  plain('IPv6', '2001:db8', ':85a3::8a2e:370:7334'),
  plain('link-local IPv6', 'fe80::', '1ff:fe23:4567:890a'),
  plain('MAC address', '3c:22:fb', ':1a:2b:3c'),
  plain('MAC address with hyphens', '3C-22-FB', '-1A-2B-3C'),
  plain('internal host', 'gpu-rig-07', '.lab.internal'),
  plain('FQDN', 'gpu07.cs', '.somewhere-college', '.edu'),
  plain('EC2 host', 'ip-10-0', '-3-44.ec2.internal'),
  plain('home folder', '/home', '/jroe/runs/dta/config.yaml'),
  plain('cluster path', '/gpfs', '/scratch/projX/davis.csv'),
  plain('macOS path', '/Users', '/jroe/Desktop/secret.csv'),
  plain('Windows path', 'C:', '\\Users\\jroe\\data\\train.csv'),
  plain('Windows path with slashes', 'D:', '/datasets/private/train.csv'),
  plain('UNC path', '\\\\', 'fileserver\\share\\davis.csv'),
  plain('file URL', 'file://', '/srv/data/x.csv'),
  plain('home path', '~', '/private/keys.txt'),
  plain('S3 URI', 's3://', 'acme-private-bucket/davis/train.csv'),
  plain('GCS URI', 'gs://', 'acme-bucket/x'),
  plain('Azure URI', 'abfss://', 'fs@acct.dfs.core.windows.net/x'),
  plain('HDFS URI', 'hdfs://', 'namenode:8020/user/jroe/x'),
  plain('URL with credentials', 'https://', 'jroe:hunter22', '@files.example.com/x.csv'),
  plain('URL with a query', 'https://', 'files.example.com/x.csv', '?sig=abc&user=jroe'),
  plain('internal URL', 'http://', 'mlflow-box:5000/experiments/3'),
  plain('git remote', 'git@', 'git.acme-corp.com:team/dta.git'),
  plain('ssh target', 'jroe@', 'rig07:/data/x'),
  plain('AWS access key', 'AKIA', capitals(15), '2'),
  within('AWS secret key', `${randomLetters(20)}/${randomLetters(19)}`, (key) => `aws_secret_access_key = ${key}`),
  plain('GCP key', 'AIza', randomLetters(35)),
  within(
    'Azure storage key',
    `${randomLetters(86)}==`,
    (key) => `DefaultEndpointsProtocol=https;AccountName=x;AccountKey=${key}`,
  ),
  plain('GitHub token', 'ghp_', randomLetters(36)),
  plain('fine-grained GitHub token', 'github_pat_', randomLetters(82)),
  plain('GitLab token', 'glpat-', randomLetters(20)),
  plain('Slack token', 'xoxb-', '123456789012-', randomLetters(24)),
  plain('Slack webhook', 'https://hooks', '.slack.com/services/T000/B000/', randomLetters(24)),
  plain('Hugging Face token', 'hf_', randomLetters(34)),
  plain('OpenAI key', 'sk-', randomLetters(48)),
  plain('OpenAI project key', 'sk-proj-', randomLetters(60)),
  plain('Anthropic key', 'sk-ant-', 'api03-', randomLetters(93)),
  plain('npm token', 'npm_', randomLetters(36)),
  plain('PyPI token', 'pypi-', 'AgEIcHlwaS5vcmc', randomLetters(60)),
  plain('Stripe key', 'sk_', 'live_', randomLetters(24)),
  plain('Twilio key', 'SK', hex(32)),
  plain('SendGrid key', 'SG.', randomLetters(22), '.', randomLetters(43)),
  plain('Telegram token', '123456789:AA', randomLetters(33)),
  plain('Discord token', 'M', randomLetters(25), '.', randomLetters(6), '.', randomLetters(38)),
  within('W&B key', hex(40), (key) => `WANDB_API_KEY=${key}`),
  plain('Databricks token', 'dapi', hex(32)),
  plain('DigitalOcean token', 'dop_v1_', hex(64)),
  within('Heroku key', '01234567-89ab-cdef-0123-456789abcdef', (key) => `HEROKU_API_KEY: ${key}`),
  plain('Mailgun key', 'key-', hex(32)),
  plain('Shopify token', 'shpat_', hex(32)),
  plain('Square token', 'sq0atp-', randomLetters(22)),
  plain('Docker token', 'dckr_pat_', randomLetters(27)),
  plain('Vault token', 'hvs.', randomLetters(90)),
  plain('JWT', 'eyJhbGciOiJIUzI1NiJ9', '.eyJzdWIiOiIxMjM0NSJ9', `.${randomLetters(43)}`),
  plain(
    'private key',
    '-----BEGIN RSA PRIV',
    `ATE KEY-----\n${randomLetters(64)}\n${randomLetters(64)}\n-----END RSA PRIV`,
    'ATE KEY-----',
  ),
  plain('certificate', '-----BEGIN CERTIF', `ICATE-----\n${randomLetters(64)}\n-----END CERTIF`, 'ICATE-----'),
  plain('SSH key', 'ssh-', `ed25519 AAAA${randomLetters(64)} jroe@rig07`),
  plain('PostgreSQL URL', 'postgres', '://jroe:hunter22@db.acme.com:5432/runs'),
  plain('MongoDB URL', 'mongodb+srv', '://jroe:hunter22@cluster0.acme.mongodb.net/x'),
  within('ODBC string', 'hunter22', (key) => `Server=db7;Database=runs;User Id=jroe;Password=${key};`),
  within('Authorization header', randomLetters(30), (key) => `Authorization: Bearer ${key}`),
  within('basic authorization', 'anJvZTpodW50ZXIyMg==', (key) => `curl -H 'Authorization: Basic ${key}'`),
  within('cookie', randomLetters(26), (key) => `Cookie: sessionid=${key}; theme=dark`),
  within('password', 'tr0ub4dor&3', (key) => `the password is ${key}`),
  within('password in an assignment', 'correct-horse-9', (key) => `DB_PASSWORD=${key}`),
  within('password of a command line', 'hunter22x', (key) => `python train.py --db-password ${key} --lr 0.1`),
  plain('card number', '4111 1111', ' 1111 1111'),
  plain('IBAN', 'DE89 3704', ' 0044 0532 0130 00'),
  plain('social security number', '078-05', '-1120'),
  plain('Spanish id', '12345678', 'Z'),
  plain('UK insurance number', 'AB 12 34', ' 56 C'),
  within('passport', 'C01X00T47', (key) => `passport number: ${key}`),
  plain('phone number', '+49 30', ' 1234 5678'),
  plain('US phone number', '(415)', ' 555-2671'),
  plain('US address', '1600 Amphi', 'theatre Parkway, Mountain View, CA 94043'),
  plain('German address', 'Linden', 'straße 12, 10969 Berlin'),
  plain('French address', '12 rue', ' de la Paix, 75002 Paris'),
  within('coordinates', '52.52043, 13.40495', (key) => `latitude: ${key}`),
  plain('ORCID', '0000-0002', '-1825-0097'),
  plain('machine id', '4c4c4544-0042', '-3510-8056-b4c04f4e5931'),
  plain('GPU id', 'GPU-5b1d', '3c5e-8f9a-4b7c-9d2e-1a2b3c4d5e6f'),
  plain('W&B run', 'https://wandb', '.ai/jroe/dta/runs/3k9x2m1p'),
  within('SLURM job', '4711823', (key) => `SLURM_JOB_ID=${key}`),
  plain('SLURM nodes', 'gpunode', '[01-04]'),
  within('git author', 'Jane Roe <jane.roe@acme.example>', (key) => `commit deadbeef\nAuthor: ${key}\nDate: today`),
  within(
    'environment',
    'jroe-secret-shell',
    (key) => `PATH=/usr/bin:/bin\nHOME=/home/jroe\nMY_VALUE=${key}\nSHELL=/bin/zsh`,
  ),
  within('random string', randomLetters(44), (key) => `salt ${key} end`),
]

/** Keys whose values go whatever they look like. */
export const tellingEntries: Readonly<Record<string, unknown>> = {
  author: 'Jane Roe',
  username: 'jroe77',
  hostname: 'rig-number-nine',
  contact: { name: 'Richard Miles', phone: '0301234567' },
  db_password: 'swordfish',
  apiKey: 'plain-words-only',
  latitude: 52.520431,
  ssn: 123456789,
  machine_id: 'b08dfa6083e7567a1921a715000001fb',
  job_id: 990017,
}

/** Texts of models and trainings that must survive whole. */
export const harmlessTexts: readonly string[] = [
  // hashes and versions
  '9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08',
  'd41d8cd98f00b204e9800998ecf8427e',
  '2.13.0+cpu',
  'torch==2.13.0.1',
  'driver 550.54.15.1',
  'cuDNN 9.1.0.70',
  'version 1.2.3.4',
  '>=1.9.0',
  'Linux-5.15.0-91-generic-x86_64-with-glibc2.35',
  // names of parameters, modules, classes, metrics
  'encoder.layers.0.self_attn.in_proj_weight',
  'protein_encoder.cnn_branches.3.0.residual_proj.weight',
  'features.conv1.net',
  'model.local.weight',
  'torch.nn.modules.batchnorm.BatchNorm1d',
  'torch.optim.adamw.AdamW',
  'DeepDTAModelWithSqueezeExcitationBlock2d',
  'TransformerEncoderLayerWithRotaryEmbedding3d',
  'val_concordance_index',
  'checkpoint_epoch_12_phase_2_1716900000_step_400.pth',
  'mAP@0.5',
  'precision@10',
  'num_key_value_heads',
  'blocks[0].conv[1]',
  'x[1:10:2]',
  'block[0-9]*.weight',
  'at::Tensor c10::ScalarType',
  // numbers and shapes
  '0.0001',
  '1e-05',
  '+1.23456789',
  '512-256-1024',
  '128-64-1024',
  '64-32-16-16-32-64',
  '3.14159265358979',
  '1716900000000000000',
  '12:30:45',
  '2024-05-01T12:00:00.000Z',
  '[0.1234, 0.5678]',
  'train/loss',
  'samples/s and/or tokens/s',
  '80/10/10',
  // chemistry and proteins
  'CC(=O)Oc1ccccc1C(=O)O',
  'CN1C=NC2=C1C(=O)N(C(=O)N2C)C',
  'F/C=C/F',
  'C[C@H](N)C(=O)O',
  'C[C@@H]1CC[C@H]2/C(=C/[C@H]3CC=C(C)C3)CCC[C@]12C',
  'F/C=C\\F',
  'CC1=CC=C2C=C3C=CC4=CC=CC=C4C3=CC2=C1CC1=CC=C2C=C3C=CC4=CC=CC=C4',
  'MKTAYIAKQRQISFVKSHFSRQLEERLGLIEVQAPILSRVGDGTQDNLSGAEKAVQVKVKALPDAQFEVV',
  'EAAAKEAAAKEAAAKEAAAKEAAAKEAAAKEAAAKEAAAKEAAAKEAAAKEAAAKEAAAKEAAAKEAAAKEAAAKEAAAKEAAAKEAAAK',
  'AKIAGHKLMNPQRSTVWYAC',
  // words
  'Adam with cosine annealing, lr 1e-3, trained for 50 epochs',
  'the key idea: attention over residues',
  'special tokens <pad> <s> </s> [CLS] [MASK]',
  'https://arxiv.org/abs/1706.03762',
  'https://github.com/pytorch/pytorch/blob/main/README.md',
  'https://www.example.com/page',
  'localhost',
  '127.0.0.1',
  'cuda:0',
  './data/train.csv',
  'configs/base.yaml',
]
