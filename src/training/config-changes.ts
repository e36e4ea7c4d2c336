/** Where two training configurations differ in what they mean: a default that one spells out is no difference. */
import { defaultMode } from '../checkpoint/best.js'
import { differences, type Plain } from '../checkpoint/fields.js'
import { intervalOf, type SchedulerConfig } from '../checkpoint/scheduler-config.js'
import type {
  EarlyStoppingConfig,
  GroupConfig,
  OptimizerConfig,
  TrainingConfig,
} from '../checkpoint/training-config.js'
import { type PhaseConfig, settlePhase } from './phase-config.js'

const adamDefaults = {
  betas: [0.9, 0.999],
  eps: 1e-8,
  weightDecay: 0,
  amsgrad: false,
  maximize: false,
  fused: false,
} as const
const optimizerDefaults: Readonly<Record<OptimizerConfig['name'], Omit<OptimizerConfig, 'name'>>> = {
  SGD: { momentum: 0, dampening: 0, nesterov: false, weightDecay: 0, maximize: false, fused: false },
  Adam: adamDefaults,
  AdamW: { ...adamDefaults, weightDecay: 0.01 },
}

/** PyTorch's, of the options that may be absent. */
const schedulerDefaults: { readonly [N in SchedulerConfig['name']]?: Readonly<Record<string, unknown>> } = {
  StepLR: { gamma: 0.1 },
  MultiStepLR: { gamma: 0.1 },
  LinearLR: { startFactor: 1 / 3, endFactor: 1, totalIters: 5 },
  ConstantLR: { factor: 1 / 3, totalIters: 5 },
  PolynomialLR: { totalIters: 5, power: 1 },
  CosineAnnealingLR: { etaMin: 0 },
  CosineAnnealingWarmRestarts: { tMult: 1, etaMin: 0 },
  OneCycleLR: {
    pctStart: 0.3,
    annealStrategy: 'cos',
    cycleMomentum: true,
    baseMomentum: 0.85,
    maxMomentum: 0.95,
    divFactor: 25,
    finalDivFactor: 1e4,
    threePhase: false,
  },
  ReduceLROnPlateau: {
    factor: 0.1,
    patience: 10,
    threshold: 1e-4,
    thresholdMode: 'rel',
    cooldown: 0,
    minLr: 0,
    eps: 1e-8,
  },
  WarmupDecay: { warmupEpochs: 5, decayFactor: 0.95, compatible: false },
}

/**
 * The paths at which two configurations mean something else: `phases[1].lr`. What a configuration sets for all phases is looked at phase by phase.
 *
 * @param validates whether the run has validation data, on which the default monitor depends.
 */
export function configChanges(before: TrainingConfig, now: TrainingConfig, validates: boolean): string[] {
  return differences(meaning(before, validates), meaning(now, validates))
}

/**
 * Whether a caller accepted a change: by its path, by a part that contains it (`phases[1]`, `phases`), or for all phases at once by what stands in them (`earlyStopping`).
 */
export function isAccepted(change: string, accepted: readonly string[]): boolean {
  const inAnyPhase = change.replace(/^phases\[\d+\]\./, '')
  return accepted.some((part) => isWithin(change, part) || isWithin(inAnyPhase, part))
}

/** Whether a path of a configuration is `part` or lies in it: `phases[1].lr` in `phases[1]`. */
export function isWithin(path: string, part: string): boolean {
  return path === part || path.startsWith(`${part}.`) || path.startsWith(`${part}[`)
}

/** A configuration with every default, as plain values. */
function meaning(config: TrainingConfig, validates: boolean): Plain {
  const name = config.monitor ?? (validates ? 'val_loss' : 'train_loss')
  const monitor = { name, mode: config.mode ?? defaultMode(name) }
  return {
    phases: config.phases.map((phase) => phaseMeaning(settlePhase(config, phase), monitor)),
    loss: config.loss,
    metrics: config.metrics ?? [],
    monitor: monitor.name,
    mode: monitor.mode,
    onNonFinite: config.onNonFinite ?? 'stop',
  }
}

function phaseMeaning(phase: PhaseConfig, monitor: { name: string; mode: 'min' | 'max' }): Plain {
  const { optimizer, groups, scheduler, earlyStopping } = phase
  const whole = { ...optimizerDefaults[optimizer.name], ...optimizer }
  return {
    ...phase,
    optimizer: whole,
    groups: groups.map((group) => groupMeaning(group, { ...whole, lr: phase.lr })),
    scheduler: scheduler === null ? null : schedulerMeaning(scheduler),
    earlyStopping: earlyStopping === null ? null : stoppingMeaning(earlyStopping, monitor),
  } as unknown as Plain
}

/** A group without what the phase says as well: its rate is its own only where it is another one. */
function groupMeaning({ params, ...own }: GroupConfig, ofPhase: object): Plain {
  const others = Object.entries(own).filter(
    ([name, value]) => differences(value as Plain, (ofPhase as Record<string, Plain>)[name]).length > 0,
  )
  return { params, ...Object.fromEntries(others) } as unknown as Plain
}

function schedulerMeaning(config: SchedulerConfig): Plain {
  const parts = (config as { schedulers?: readonly SchedulerConfig[] }).schedulers
  return {
    ...schedulerDefaults[config.name],
    ...config,
    interval: intervalOf(config),
    ...(parts === undefined ? {} : { schedulers: parts.map(schedulerMeaning) }),
  } as unknown as Plain
}

function stoppingMeaning(config: EarlyStoppingConfig, monitor: { name: string; mode: 'min' | 'max' }): Plain {
  const name = config.monitor ?? monitor.name
  const mode = config.mode ?? (name === monitor.name ? monitor.mode : defaultMode(name))
  const countsChecks = config.patienceSteps === undefined && config.patienceSeconds === undefined
  return {
    ...(countsChecks ? { patience: 10 } : {}),
    minDelta: 0,
    minDeltaMode: 'abs',
    warmupEpochs: 0,
    checkFinite: true,
    ...config,
    monitor: name,
    mode,
  } as unknown as Plain
}
