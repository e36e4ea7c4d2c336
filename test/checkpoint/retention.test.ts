/** Which files stay: examples of every rule. */
import assert from 'node:assert/strict'
import { retention, type RetentionFile, type RetentionPolicy } from '../../src/checkpoint/index.js'
import type { TorchkeepError } from '../../src/format/index.js'

/** A valid regular checkpoint of epoch `epoch`, saved at second `epoch`. */
function file(epoch: number, facts: Partial<RetentionFile> = {}): RetentionFile {
  const path = facts.path ?? `run/regular/checkpoint_epoch_${epoch}_phase_1_${epoch}.pth`
  return {
    path,
    role: 'checkpoint',
    container: 'torch_zip',
    kind: 'training_checkpoint',
    run: 'run',
    verdict: 'valid',
    reason: '',
    recoverable: false,
    epoch,
    phase: 1,
    globalStep: epoch * 10,
    timestamp: 1_700_000_000 + epoch,
    modifiedMs: 0,
    metrics: { val_loss: 1 / epoch },
    sizeBytes: 100,
    content: path,
    isLink: false,
    ...facts,
  }
}

/** What a plan says, by file name: `-` goes, `+` stays, and the rule. */
function said(files: readonly RetentionFile[], policy: RetentionPolicy): Record<string, string> {
  return Object.fromEntries(
    retention
      .plan(files, policy)
      .map(({ path, keep, rule }) => [path.slice('run/'.length), `${keep ? '+' : '-'} ${rule}`]),
  )
}

/** The epochs of the files that stay. */
function kept(files: readonly RetentionFile[], policy: RetentionPolicy): number[] {
  return retention.plan(files, policy).flatMap(({ keep }, index) => (keep ? [files[index]?.epoch ?? NaN] : []))
}

const best = (count: number, mode: 'min' | 'max' = 'min', metric = 'val_loss') => ({
  keepBest: { count, metric, mode },
})
const losses = (...values: (number | undefined)[]): RetentionFile[] =>
  values.map((value, index) => file(index + 1, { metrics: value === undefined ? {} : { val_loss: value } }))

describe('retention.plan', () => {
  it('removes what is invalid and leaves the rest alone', () => {
    const bad = { verdict: 'invalid', reason: 'record data/0: CRC-32' } as const
    const files = [file(1), file(2, bad), file(3, { verdict: 'unknown', reason: 'no permission' })]
    const choices = retention.plan(files, { invalid: true })
    assert.deepEqual(
      choices.map(({ keep, rule, reason }) => [keep, rule, reason]),
      [
        [true, 'valid', 'valid'],
        [false, 'invalid', 'invalid: record data/0: CRC-32'],
        [true, 'unknown', 'no permission'],
      ],
    )
  })

  it('leaves invalid ones to those who ask for them', () => {
    assert.deepEqual(said([file(1), file(2, { verdict: 'invalid', path: 'run/x.pth' })], { keepLast: 1 }), {
      'regular/checkpoint_epoch_1_phase_1_1.pth': '+ keep-last',
      'x.pth': '+ invalid-not-asked',
    })
  })

  it('never touches backups, exports, foreign and recovered files, trash, quarantine, links, and what is in several files', () => {
    const all: Partial<RetentionFile>[] = [
      { path: 'run/a', role: 'backup' },
      { path: 'run/b', role: 'export' },
      { path: 'run/c', role: 'foreign' },
      { path: 'run/d', role: 'recovered' },
      { path: 'run/e', role: 'trash' },
      { path: 'run/f', role: 'quarantine' },
      { path: 'run/g', kind: 'shared_export' },
      { path: 'run/h', kind: 'inference_export' },
      { path: 'run/i', isLink: true },
      { path: 'run/j', container: 'sharded' },
      { path: 'run/k', container: 'distributed' },
    ]
    for (const verdict of ['valid', 'invalid'] as const) {
      const files = [file(20), ...all.map((facts, index) => file(index + 1, { ...facts, verdict }))]
      assert.deepEqual(said(files, { invalid: true, keepLast: 1 }), {
        'regular/checkpoint_epoch_20_phase_1_20.pth': '+ keep-last',
        ...{ a: '+ role', b: '+ role', c: '+ role', d: '+ role', e: '+ role', f: '+ role', g: '+ role', h: '+ role' },
        ...{ i: '+ link', j: '+ several-files', k: '+ several-files' },
      })
    }
  })

  it('takes recovered files in when asked', () => {
    const files = [file(1, { path: 'run/recovered_a.pth', role: 'recovered' }), file(2)]
    assert.deepEqual(kept(files, { keepLast: 1 }), [1, 2])
    assert.deepEqual(kept(files, { keepLast: 1, recovered: true }), [2])
  })

  it('keeps the best by either direction', () => {
    const files = losses(0.4, 0.1, 0.3, 0.2, Infinity)
    assert.deepEqual(kept(files, best(2)), [2, 4])
    assert.deepEqual(kept(files, best(2, 'max')), [1, 5])
  })

  it('never counts NaN among the best, and keeps the earlier of equals', () => {
    assert.deepEqual(kept(losses(NaN, 0.5, 0.5, 0.5), best(2)), [2, 3])
    assert.deepEqual(kept(losses(NaN, 0.5, NaN, 0.4), best(3, 'max')), [2, 4])
  })

  it('keeps what cannot be ranked, and says so', () => {
    const files = losses(0.4, undefined, 0.3)
    assert.deepEqual(kept(files, best(1)), [2, 3])
    assert.match(retention.plan(files, best(1))[1]?.reason ?? '', /has no val_loss/)
  })

  it('keeps the newest by timestamp, else by epoch, else by modification time', () => {
    const again = [file(5, { timestamp: 10 }), file(6, { timestamp: 20 }), file(1, { timestamp: 30 })]
    assert.deepEqual(kept(again, { keepLast: 1 }), [1], 'a run started again')
    const copied = [file(5, { timestamp: null, modifiedMs: 3 }), file(6, { timestamp: null, modifiedMs: 1 })]
    assert.deepEqual(kept(copied, { keepLast: 1 }), [6], 'without timestamps')
    const bare = [file(5, { timestamp: null, epoch: null, modifiedMs: 3 }), file(6, { timestamp: null, modifiedMs: 1 })]
    assert.deepEqual(kept(bare, { keepLast: 1 }).length, 1)
    assert.equal(retention.plan(bare, { keepLast: 1 })[0]?.keep, true, 'without epochs')
    const steps = [
      file(5, { timestamp: 10, globalStep: 48 }),
      file(5, { timestamp: 10, globalStep: 44, path: 'run/b.pth' }),
    ]
    assert.deepEqual(
      retention.plan(steps, { keepLast: 1 }).map(({ keep }) => keep),
      [true, false],
      'inside one epoch and second',
    )
  })

  it('joins rules: what any keeps stays, with the words of those that keep it', () => {
    const files = losses(0.1, 0.5, 0.4, 0.3)
    const choices = retention.plan(files, { ...best(1), keepLast: 2 })
    assert.deepEqual(
      choices.map(({ keep, rule }) => (keep ? rule : '')),
      ['keep-best', '', 'keep-last', 'keep-last'],
    )
    assert.equal(
      choices[1]?.reason,
      'number 4 of 4 by val_loss (0.5); keeping 1; number 3 of 4 from the newest; keeping 2',
    )
  })

  it('keeps what is among the best by any of several metrics', () => {
    const scores = [
      [0.1, 0.5],
      [0.2, 0.9],
      [0.3, 0.7],
      [0.4, 0.6],
      [NaN, 0.8],
    ] as const
    const files = scores.map(([val_loss, val_ci], index) => file(index + 1, { metrics: { val_loss, val_ci } }))
    const keepBest = [
      { count: 1, metric: 'val_loss', mode: 'min' },
      { count: 2, metric: 'val_ci', mode: 'max' },
    ] as const
    assert.deepEqual(kept(files, { keepBest }), [1, 2, 5])
    assert.match(retention.plan(files, { keepBest })[4]?.reason ?? '', /^number 2 of 5 by val_ci \(0\.8\); keeping 2$/)
    assert.deepEqual(kept(files, { keepBest: [] }), [1, 2, 3, 4, 5], 'no rule takes nothing away')
  })

  it('keeps what the caller holds, which has its rank all the same', () => {
    const files = [
      file(1, { held: 'tagged' }),
      file(2),
      file(3, { held: 'tagged' }),
      file(4, { verdict: 'invalid', held: 'x' }),
    ]
    assert.deepEqual(kept(files, { keepLast: 1, invalid: true }), [1, 3, 4])
    const [first] = retention.plan(files, { keepLast: 1 })
    assert.deepEqual([first?.rule, first?.reason], ['held', 'tagged'])
  })

  it('lets copies of one checkpoint share a rank', () => {
    const copies = (epoch: number, loss: number): RetentionFile[] =>
      ['regular/r', 'best/b'].map((name) =>
        file(epoch, { path: `run/${name}_${epoch}.pth`, metrics: { val_loss: loss }, sizeBytes: name.length }),
      )
    assert.deepEqual(kept([...copies(1, 0.3), ...copies(2, 0.2), ...copies(3, 0.1)], best(2)), [2, 2, 3, 3])
  })

  it('keeps latest.pth, latest_best.pth and the files of phases while they are valid, but not their copies', () => {
    const files = [
      file(1),
      file(1, { path: 'run/latest.pth' }),
      file(1, { path: 'run/best/latest_best.pth' }),
      file(1, { path: 'run/phases/phase_1_best.pth' }),
      file(2, { metrics: { val_loss: 0 } }),
    ]
    assert.deepEqual(said(files, best(1)), {
      'regular/checkpoint_epoch_1_phase_1_1.pth': '- surplus',
      'latest.pth': '+ name',
      'best/latest_best.pth': '+ name',
      'phases/phase_1_best.pth': '+ name',
      'regular/checkpoint_epoch_2_phase_1_2.pth': '+ keep-best',
    })
    const broken = file(3, { path: 'run/latest.pth', verdict: 'invalid' })
    assert.equal(retention.plan([file(1), broken], { invalid: true })[1]?.keep, false)
  })

  it('keeps all names of a content that stays, and removes all names of one that goes', () => {
    const linked = [file(1, { content: 'x' }), file(1, { content: 'x', path: 'run/latest.pth' }), file(2)]
    assert.deepEqual(said(linked, { keepLast: 1 }), {
      'regular/checkpoint_epoch_1_phase_1_1.pth': '+ same-content',
      'latest.pth': '+ name',
      'regular/checkpoint_epoch_2_phase_1_2.pth': '+ keep-last',
    })
    const both = [file(1, { content: 'x' }), file(1, { content: 'x', path: 'run/b.pth' }), file(2)]
    assert.deepEqual(kept(both, { keepLast: 1 }), [2])
    const pointedTo = [file(1, { content: 'x' }), file(1, { content: 'x', path: 'run/link', isLink: true }), file(2)]
    assert.deepEqual(kept(pointedTo, { keepLast: 1 }), [1, 1, 2])
  })

  it('ranks within each run', () => {
    const files = [
      file(1),
      file(2),
      file(8, { run: 'other', path: 'other/a.pth' }),
      file(9, { run: 'other', path: 'other/b.pth' }),
    ]
    assert.deepEqual(kept(files, { keepLast: 1 }), [2, 9])
  })

  it('keeps the last valid checkpoint of a run even where no rule does', () => {
    const choices = retention.plan(losses(NaN, NaN), best(1))
    assert.deepEqual(
      choices.map(({ keep, rule }) => [keep, rule]),
      [
        [false, 'surplus'],
        [true, 'last-valid'],
      ],
    )
  })

  it('keeps damaged checkpoints that can be recovered where a run has nothing valid', () => {
    const damaged = [1, 2].map((epoch) => file(epoch, { verdict: 'invalid', recoverable: epoch === 2 }))
    assert.deepEqual(kept(damaged, { invalid: true }), [2])
    assert.deepEqual(kept([...damaged, file(3)], { invalid: true }), [3])
    assert.deepEqual(kept([...damaged, file(3, { run: 'other', path: 'other/a.pth' })], { invalid: true }), [2, 3])
  })

  it('has no rank for what is no training checkpoint', () => {
    assert.deepEqual(kept([file(1, { kind: 'state_dict' }), file(2), file(3)], { keepLast: 1 }), [1, 3])
  })

  it('refuses counts that are none', () => {
    for (const count of [0, -1, 1.5, NaN, Infinity]) {
      for (const policy of [{ keepLast: count }, best(count)]) {
        assert.throws(
          () => retention.plan([], policy),
          (error: TorchkeepError) => error.code === 'ERR_INVALID_ARGUMENT' && error.message.includes('at least 1'),
        )
      }
    }
  })
})
