/** What Python does with exports: calls each of their files, and runs their own programs. */
import { twins } from './export-models.js'

/** What {@link provingProgram} prints. */
export interface Proofs {
  /** By export and file. */
  compared: unknown
  /** Names in the archive of `torch::save`. */
  archive: { parameters: string[]; buffers: string[] }
  /** In the order that was asked for. */
  ran: { script: string; status: number; output: string; imports: string[]; required: string[] }[]
}

/** Calls the files of each export; `compared` says by export and file whether the outputs are those of its `sample.pth`. */
const compareProgram = `
from safetensors.torch import load_file, load_model
nn = torch.nn
${[...new Set(Object.values(twins).map(({ python: { text } }) => text))].join('\n')}
bits = lambda tensor: tensor.contiguous().reshape(-1).view(torch.uint8)
same = lambda a, b: a.dtype == b.dtype and a.shape == b.shape and torch.equal(bits(a), bits(b))
compared = {}
for job in json.loads(sys.argv[1]):
    folder, found = job['folder'], {}
    sample = torch.load(f'{folder}/sample.pth', weights_only=True)
    twin = lambda: globals()[job['twin']]().eval()
    def compare(way, model):
        with torch.no_grad(), torch.autocast('cpu', dtype=torch.bfloat16, enabled=job['autocast']):
            outputs = model(*sample['inputs'])
        outputs = [outputs] if isinstance(outputs, torch.Tensor) else outputs
        found[way] = len(outputs) == len(sample['outputs']) and all(map(same, outputs, sample['outputs']))
        return model
    original = torch.load(job['checkpoint'], weights_only=True)['model_state_dict']
    model = twin(); model.load_state_dict(original)
    if job['dtype'] is None: compare('checkpoint', model)
    compare('pt2', torch.export.load(f'{folder}/model.pt2').module())
    weights = torch.load(f'{folder}/model.pth', weights_only=True)
    model = twin(); model.load_state_dict(weights); compare('pth', model)
    model = twin(); load_model(model, f'{folder}/model.safetensors'); compare('safetensors', model)
    dtype = job['dtype'] and getattr(torch, job['dtype'])
    cast = {k: v.to(dtype) if dtype and v.is_floating_point() else v for k, v in original.items()}
    found['weights'] = list(weights) == list(cast) and type(weights) is type(original) and all(same(weights[k], v) for k, v in cast.items())
    found['safetensors weights'] = all(same(cast[k], v) for k, v in load_file(f'{folder}/model.safetensors').items())
    addresses = lambda state: sorted(sorted(k for k in state if state[k].data_ptr() == v.data_ptr()) for v in state.values())
    found['sharing'] = addresses(weights) == addresses(original)
    compared[job['name']] = found
`

/** Runs programs as processes of their own (forked after the imports, which take seconds), and tells what they import besides Python's own modules and what requirements.txt names. */
const scriptsProgram = `
import ast, os, runpy, hashlib
from pathlib import Path
elsewhere, differing, scripts = sys.argv[2], Path(sys.argv[3]), json.loads(sys.argv[4])
sample = torch.load(differing / 'sample.pth', weights_only=True)
torch.save([sample['inputs'][0][:2]], f'{elsewhere}/own.pth')
sample['outputs'][0] = sample['outputs'][0].clone()
sample['outputs'][0][1, 2] += 0.5
torch.save(sample, differing / 'sample.pth')
def write_sums():
    names = [line.split('  ', 1)[1] for line in (differing / 'SHA256SUMS').read_text().splitlines()]
    (differing / 'SHA256SUMS').write_text(''.join(f'{hashlib.sha256((differing / name).read_bytes()).hexdigest()}  {name}\\n' for name in names))
write_sums()
os.chdir(elsewhere)
def run(script, *arguments):
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        os.dup2(writing, 1); os.dup2(writing, 2)
        sys.argv = [script, *arguments]
        status = 0
        try: runpy.run_path(script, run_name='__main__')
        except SystemExit as end:
            if isinstance(end.code, str): print(end.code, file=sys.stderr)
            status = end.code if isinstance(end.code, int) else 0 if end.code is None else 1
        except BaseException:
            import traceback; traceback.print_exc(); status = 2
        sys.stdout.flush(); sys.stderr.flush()
        os._exit(status)
    os.close(writing)
    with os.fdopen(reading) as pipe: output = pipe.read()
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), output
def modules(script):
    tree = ast.parse(Path(script).read_text())
    names = [alias.name for node in ast.walk(tree) if isinstance(node, ast.Import) for alias in node.names]
    names += [node.module for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)]
    # safetensors itself does not need torch.
    names += ['torch' for name in names if name == 'safetensors.torch']
    return sorted({name.split('.')[0] for name in names} - set(sys.stdlib_module_names))
ran = []
for script in scripts:
    status, output = run(script)
    required = sorted(line.split('>=')[0] for line in (Path(script).parent / 'requirements.txt').read_text().split())
    ran.append(dict(script=script, status=status, output=output, imports=modules(script), required=required))
status, output = run(str(differing / 'inference.py'), 'own.pth')
Path('own.txt').write_text(output)
assert status == 0, output
archive = torch.jit.load(sys.argv[5])
names = lambda named: sorted(name for name, _ in named)
archive = dict(parameters=names(archive.named_parameters()), buffers=names(archive.named_buffers()))
print(json.dumps(dict(compared=compared, ran=ran, archive=archive)))
`

/** Arguments: what to call, a folder that programs run in, a folder whose stored output it changes, the programs, and an archive of `torch::save`. */
export const provingProgram = compareProgram + scriptsProgram
