/** Checkpoints of every layout, written by real Python as the programs of that time wrote them: key order, numpy scalars, aliases and all. */
import { runPython } from '../python.js'

/** Facts that Python knows about the model in every file. */
export interface WrittenLayouts {
  /** Elements of the parameters, aliases once. */
  numParameters: number
  /** Entries of the state dict, aliases and buffers included. */
  entries: number
  /** Sum of all parameters as doubles, to compare values. */
  parameterSum: number
  numpy: { pearson: number; rmse: number; spearman: number }
}

/** Writes `L1.pth`, `L2.pth`... into a folder; returns what Python knows about them. */
export async function writeLayouts(folder: string): Promise<WrittenLayouts> {
  return JSON.parse(await runPython(program, [folder])) as WrittenLayouts
}

const program = `
import numpy as np, os, collections
folder = sys.argv[1]
torch.manual_seed(7)

class Gin(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.mlp = torch.nn.Sequential(torch.nn.Linear(6, 8), torch.nn.BatchNorm1d(8), torch.nn.ReLU(), torch.nn.Linear(8, 6))
        self.gin_conv = torch.nn.Module(); self.gin_conv.nn = self.mlp
    def forward(self, x): return x + self.mlp(x)

class Encoder(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.embedding = torch.nn.Embedding(26, 6, padding_idx=0)
        self.register_buffer('mask', torch.triu(torch.full((4, 4), -math.inf), 1))
        self.projection = torch.nn.Linear(6, 6)
    def forward(self, x): return self.projection(self.embedding(x).mean(1))

import math
class Model(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.protein_encoder = Encoder(); self.gin_layers = torch.nn.ModuleList([Gin(), Gin()]); self.predictor = torch.nn.Linear(6, 1)
    def forward(self, tokens):
        x = self.protein_encoder(tokens)
        for layer in self.gin_layers: x = layer(x)
        return self.predictor(x)

model = Model()
optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3, weight_decay=1e-5)
for _ in range(3):
    optimizer.zero_grad(); (model(torch.randint(1, 26, (8, 5))) ** 2).mean().backward(); optimizer.step()

pearson, rmse, spearman = np.float32(0.8125), np.float32(0.7), np.float64(0.61)
def row(epoch, phase, loss):
    return {'epoch': epoch, 'phase': phase, 'train_loss': loss + 0.1, 'val_loss': loss, 'val_pearson': pearson, 'val_spearman': spearman, 'val_rmse': rmse,
            'learning_rate': 1e-3, 'memory_usage': 512.5, 'training_time': 1.5}
history = [row(1, 1, 0.9), row(2, 1, 0.5), row(3, 2, 0.25)]
config = {'protein_encoder_type': 'cnn', 'drug_encoder_type': 'gin', 'use_fusion': False, 'protein_config': {'output_dim': 6}, 'drug_config': {'output_dim': 6},
          'fusion_config': None, 'predictor_config': {'hidden_dims': [8]}, 'training_config': {}, 'data_config': {'datasets': ['kiba']}, 'device': 'auto', 'seed': 42, 'verbose': True, 'log_level': 'INFO'}
state = {'current_epoch': 3, 'current_phase': 2, 'best_val_loss': 0.25, 'best_val_pearson': pearson, 'patience_counter': 0, 'total_training_time': 0.0, 'metrics_history': history}
scheduler = {'epoch': 3, 'current_phase': 2, 'phase1_lr': 1e-3, 'phase2_lr': 1e-4, 'warmup_epochs': 5, 'decay_factor': 0.95}
val = {'pearson': pearson, 'spearman': spearman, 'mse': np.float32(0.49), 'rmse': rmse}
weights, adam = model.state_dict(), optimizer.state_dict()

def save(name, value): torch.save(value, os.path.join(folder, name))

save('L1.pth', {
    'version': '1.0', 'timestamp': 1755400000, 'model_state_dict': weights, 'training_state': state, 'config': config, 'validation_loss': 0.25, 'is_best': True, 'epoch': 3, 'phase': 2,
    'optimizer_state_dict': adam, 'scheduler_state': scheduler, 'metrics_history': history,
    'recent_performance': {'avg_train_loss': np.float64(0.65), 'avg_val_loss': np.float64(0.55), 'avg_val_pearson': pearson, 'avg_val_spearman': spearman, 'avg_memory_usage': np.float64(512.5)},
    'additional_metrics': {'memory_summary': {'avg_memory_utilization': 0.4, 'max_memory_utilization': 0.5, 'oom_count': 0, 'final_batch_size': 4}, 'val_metrics': val, 'epoch_time': 1.5, 'learning_rate': 1e-3, 'phase': 2},
    'model_info': {'protein_encoder_type': 'cnn', 'drug_encoder_type': 'gin', 'use_fusion': False, 'protein_output_dim': 6, 'drug_output_dim': 6}})
save('L2.pth', {'epoch': 3, 'model_state': weights, 'optimizer_state': adam, 'val_loss': 0.25, 'training_state': state, 'config': config, 'phase': 2})
save('L3.pth', {'epoch': 4, 'model_state_dict': weights, 'optimizer_state_dict': adam, 'loss': 0.5, 'metrics': {'pearson': pearson, 'val_loss': 0.75}, 'model_info': {'total': 100, 'trainable': 90, 'frozen': 10}})
save('L4.pth', {'epoch': 4, 'model_state_dict': weights, 'optimizer_state_dict': adam, 'metrics': {'loss': np.float64(0.5), 'pearson': pearson}, 'config': None})
plateau = torch.optim.lr_scheduler.ReduceLROnPlateau(optimizer).state_dict()
notebook = {'epoch': 5, 'model_state_dict': weights, 'optimizer_state_dict': adam, 'scheduler_state_dict': plateau, 'val_loss': 0.375, 'model_config': config, 'training_config': {'batch_size': 4}}
save('L5.pth', notebook)
columns = lambda losses: {'train_loss': [x + 0.1 for x in losses], 'val_loss': losses, 'val_pearson': [float(pearson)] * len(losses)}
save('L5-final.pth', {**notebook, 'phase1_history': columns([0.9, 0.6]), 'phase2_history': columns([0.5, 0.4, 0.375])})
save('L6.pth', {'epoch': 7, 'model_state_dict': weights, 'optimizer_state_dict': adam, 'train_loss': 0.5, 'val_loss': 0.625})
save('L6-lists.pth', {'epoch': 3, 'model_state_dict': weights, 'optimizer_state_dict': adam, 'train_losses': [0.9, 0.7, 0.6], 'val_losses': [1.0, 0.8, 0.75]})
save('L7.pth', weights)
save('L7-under.pth', {'state_dict': weights})
save('L8.pth', {'model_state_dict': weights, 'config': config, 'export_timestamp': 1755400001, 'export_type': 'inference', 'model_class': 'Model'})
shared_state = {k: v for k, v in state.items() if k != 'metrics_history'}
shared_state['metrics_summary'] = {'total_epochs': 3, 'best_val_loss': 0.25, 'final_val_loss': 0.25}
save('L9.pth', {'model_state_dict': weights, 'config': config, 'validation_loss': 0.25, 'epoch': 3, 'phase': 2, 'version': '1.0', 'export_timestamp': 1755400002, 'export_type': 'shared', 'training_state': shared_state})
save('L10.pth', {'version': '2.0', 'enhanced_metadata': {'author': 'test'}, 'timestamp': 1755400003, 'model_state_dict': weights, 'optimizer_state_dict': {},
    'training_state': {'current_epoch': 2, 'metrics_history': [{'epoch': 1, 'loss': 0.5}, {'epoch': 2, 'loss': 0.4}]}, 'config': config, 'validation_loss': 0.4, 'is_best': False, 'epoch': 2, 'phase': 1})
save('L10-partial.pth', {'version': '1.0', 'timestamp': 1755400004, 'model_state_dict': weights, 'optimizer_state_dict': {'param_groups': []},
    'training_state': {'current_epoch': 2, 'current_phase': 1}, 'config': config, 'validation_loss': 0.4, 'epoch': 2, 'phase': 1})
print(json.dumps({
    'numParameters': sum(p.numel() for p in model.parameters()), 'entries': len(weights), 'parameterSum': sum(p.detach().double().sum().item() for p in model.parameters()),
    'numpy': {'pearson': float(pearson), 'rmse': float(rmse), 'spearman': float(spearman)}}))
`
