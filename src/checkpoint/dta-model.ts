/**
 * What the tensors of the older system's models (drug-target affinity) say about the fields of its configuration. Its checkpoints carry the default configuration whatever was trained, so that the two often disagree.
 */
import type { Plain } from './fields.js'
import { sizesOf } from './tensor-roles.js'
import type { AnyTensorRecord } from '../format/tensor-record.js'

/** Fields of the configuration by dotted path, as far as the tensors tell. Empty for other models. */
export function configFromTensors(tensors: ReadonlyMap<string, AnyTensorRecord>): ReadonlyMap<string, Plain> {
  const names = [...tensors.keys()]
  const has = (prefix: string): boolean => names.some((name) => name.startsWith(prefix))
  const fields = new Map<string, Plain>()
  if (!has('protein_encoder.') || !has('drug_encoder.')) return fields
  if (has('protein_encoder.esm_model.')) fields.set('protein_encoder_type', 'esm')
  else if (has('protein_encoder.cnn_branches.')) fields.set('protein_encoder_type', 'cnn')
  if (has('drug_encoder.gin_layers.')) fields.set('drug_encoder_type', 'gin')
  fields.set('use_fusion', has('fusion.'))
  const width = (field: string, prefix: string): void => {
    const last = names.filter((name) => name.startsWith(prefix) && name.endsWith('.weight')).at(-1)
    const record = last === undefined ? undefined : tensors.get(last)
    const size = record === undefined ? undefined : sizesOf(record)[0]
    if (size !== undefined) fields.set(field, size)
  }
  width('protein_config.output_dim', 'protein_encoder.projection.')
  width('drug_config.output_dim', 'drug_encoder.final_projection.')
  return fields
}
