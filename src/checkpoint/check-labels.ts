/** Whether the labels of a checkpoint (best, epoch, phase, loss) agree with its history and its name. A label may lie without a byte being damaged: the older system wrote the last weights under the best one's loss. */
import { basename } from 'node:path'
import type { Finding } from '../format/findings.js'
import { configFromTensors } from './dta-model.js'
import { finding, type FindingId } from './findings.js'
import { exactRowOf, numberOf, rowOf } from './metrics.js'
import { historyOf, type TopLevel } from './migrations.js'
import { stateTensors } from './tensor-roles.js'

/** Relative difference that rounding to float32 explains. */
const tolerance = 1e-6

/** Findings about labels. */
export function checkLabels(checkpoint: TopLevel, path: string): Finding<FindingId>[] {
  const found: Finding<FindingId>[] = []
  const say: Say = (subject, message) => void found.push(finding('label.mismatch', subject, message))
  checkEpoch(checkpoint, say)
  checkLoss(checkpoint, say)
  if (checkpoint.get('is_best') === true) checkBest(checkpoint, say)
  checkName(checkpoint, basename(path), say)
  checkConfig(checkpoint, say)
  return found
}

type Say = (subject: string, message: string) => void

const show = (value: number): string => String(Number(value.toPrecision(6)))

function checkEpoch(checkpoint: TopLevel, say: Say): void {
  const epoch = numberOf(checkpoint.get('epoch'))
  if (epoch === null) return
  const state = checkpoint.get('training_state')
  const current = state instanceof Map ? numberOf(state.get('current_epoch')) : null
  if (current !== null && current !== epoch)
    say('epoch', `epoch is ${epoch}, but training_state.current_epoch is ${current}`)
  const phase = numberOf(checkpoint.get('phase'))
  const currentPhase = state instanceof Map ? numberOf(state.get('current_phase')) : null
  if (phase !== null && currentPhase !== null && phase !== currentPhase) {
    say('phase', `phase is ${phase}, but training_state.current_phase is ${currentPhase}`)
  }
  const epochs = (historyOf(checkpoint) ?? [])
    .map((row) => numberOf(row.get('epoch')))
    .filter((value) => value !== null)
  // A checkpoint inside an epoch belongs to one that has no row yet.
  const unfinished = checkpoint.get('data_position') instanceof Map ? 1 : 0
  const last = epochs.reduce((most, value) => Math.max(most, value), -Infinity)
  if (epochs.length > 0 && epoch > last + unfinished)
    say('epoch', `epoch is ${epoch}, but the history ends at epoch ${last}`)
}

function checkLoss(checkpoint: TopLevel, say: Say): void {
  const loss = numberOf(checkpoint.get('validation_loss'))
  const row = numberOf(exactRowOf(checkpoint)?.get('val_loss'))
  if (loss !== null && row !== null && !isClose(loss, row)) {
    const epoch = numberOf(checkpoint.get('epoch'))
    say('validation_loss', `validation_loss is ${show(loss)}, but the history says ${show(row)} for epoch ${epoch}`)
  }
  const state = checkpoint.get('training_state')
  const best = state instanceof Map ? numberOf(state.get('best_val_loss')) : null
  const least = leastLoss(checkpoint)
  if (best !== null && least !== undefined && !isClose(best, least.loss) && best > least.loss) {
    say(
      'training_state',
      `training_state.best_val_loss is ${show(best)}, but epoch ${least.epoch} had ${show(least.loss)}`,
    )
  }
}

function isClose(left: number, right: number): boolean {
  return (
    Object.is(left, right) ||
    left === right ||
    Math.abs(left - right) <= tolerance * Math.max(Math.abs(left), Math.abs(right))
  )
}

function leastLoss(checkpoint: TopLevel): { loss: number; epoch: number } | undefined {
  let least: { loss: number; epoch: number } | undefined
  for (const row of historyOf(checkpoint) ?? []) {
    const [loss, epoch] = [numberOf(row.get('val_loss')), numberOf(row.get('epoch'))]
    if (loss !== null && epoch !== null && loss < (least?.loss ?? Infinity)) least = { loss, epoch }
  }
  return least
}

/** A file that calls itself best: by the record of the best epoch where it has one (any metric may be monitored), else by the smallest validation loss of its history. */
function checkBest(checkpoint: TopLevel, say: Say): void {
  const state = checkpoint.get('training_state')
  const record: unknown = state instanceof Map ? state.get('best') : undefined
  const epoch = numberOf(checkpoint.get('epoch'))
  if (record instanceof Map) {
    const bestEpoch = numberOf(record.get('epoch'))
    if (bestEpoch === null || epoch === null || bestEpoch === epoch) return
    return say('is_best', `is_best is true for epoch ${epoch}, but training_state.best is epoch ${bestEpoch}`)
  }
  const own = numberOf(rowOf(checkpoint)?.get('val_loss')) ?? numberOf(checkpoint.get('validation_loss'))
  const least = leastLoss(checkpoint)
  if (own === null || least === undefined || own <= least.loss || isClose(own, least.loss)) return
  say(
    'is_best',
    `is_best is true with a validation loss of ${show(own)}, but epoch ${least.epoch} had ${show(least.loss)}`,
  )
}

/** The configuration of the older system's models against their tensors. */
function checkConfig(checkpoint: TopLevel, say: Say): void {
  const config = checkpoint.get('config')
  for (const [path, told] of configFromTensors(stateTensors(checkpoint))) {
    let claimed: unknown = config
    for (const key of path.split('.')) claimed = claimed instanceof Map ? claimed.get(key) : undefined
    const value = numberOf(claimed) ?? claimed
    if (value === undefined || value === told) continue
    say('config', `config.${path} is ${String(value)}, but the tensors are those of ${String(told)}`)
  }
}

function checkName(checkpoint: TopLevel, name: string, say: Say): void {
  const [, epoch, phase] = /(?:checkpoint|best_model)_epoch_(\d+)_phase_(\d+)/.exec(name) ?? []
  const compare = (key: string, named: string | undefined): void => {
    const value = numberOf(checkpoint.get(key))
    if (named !== undefined && value !== null && value !== Number(named))
      say(key, `the file name says ${key} ${named}, the file says ${value}`)
  }
  compare('epoch', epoch)
  compare('phase', phase)
  // Our best/ keeps the best few, each under its epoch; is_best says that all before were worse.
  const isOneOfBest = checkpoint.get('format') === 'torchkeep' && epoch !== undefined
  const saysBest = /^(latest_)?best(_model)?([._]|$)/.test(name)
  if (saysBest && !isOneOfBest && checkpoint.get('is_best') === false) {
    say('is_best', 'the file name says best, but is_best is false')
  }
}
