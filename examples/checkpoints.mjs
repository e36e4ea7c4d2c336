import { CheckpointManager, CheckpointValidator, compareCheckpoints } from 'torchkeep/checkpoint'

const manager = new CheckpointManager('checkpoints')
const best = await manager.getBestCheckpointPath('val_loss')
const { valid, errors } = await CheckpointValidator.validateCheckpointFile(best)
console.log(best, valid ? 'is valid' : errors.map(({ id, message }) => `${id}: ${message}`))

for (const { path, epoch } of await manager.listCheckpoints('best')) {
  const { same, model } = await compareCheckpoints(best, path)
  const identical = `${model.numIdenticalTensors} of ${model.numTensors} tensors are those of the best`
  console.log(`epoch ${epoch}: ${same ? 'the best itself' : identical}`)
}
