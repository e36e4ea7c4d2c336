/** Which files stay: what holds for all files and all policies. */
import assert from 'node:assert/strict'
import { basename, join } from 'node:path'
import fc from 'fast-check'
import { retention, type RetentionFile, type RetentionPolicy } from '../../src/checkpoint/index.js'

describe('retention.plan, for any files and any policy', () => {
  const metric = fc.oneof(fc.constantFrom(NaN, Infinity, -Infinity, 0, 0.5), fc.double({ noNaN: true, min: 0, max: 4 }))
  const anyFile = fc
    .record({
      name: fc.constantFrom('latest.pth', 'best/latest_best.pth', 'regular/a.pth', 'best/b.pth', 'c.pt'),
      run: fc.constantFrom('run', 'other', 'third'),
      role: fc.constantFrom<RetentionFile['role'][]>(
        'checkpoint',
        'checkpoint',
        'checkpoint',
        'backup',
        'recovered',
        'export',
        'foreign',
        'trash',
        'quarantine',
      ),
      container: fc.constantFrom<RetentionFile['container'][]>(
        'torch_zip',
        'torch_zip',
        'sharded',
        'distributed',
        null,
      ),
      kind: fc.constantFrom<RetentionFile['kind'][]>(
        'training_checkpoint',
        'training_checkpoint',
        'state_dict',
        'inference_export',
        'other',
        null,
      ),
      verdict: fc.constantFrom<RetentionFile['verdict'][]>('valid', 'valid', 'invalid', 'unknown'),
      recoverable: fc.boolean(),
      epoch: fc.option(fc.integer({ min: 0, max: 4 })),
      phase: fc.option(fc.integer({ min: 1, max: 2 })),
      globalStep: fc.option(fc.integer({ min: 0, max: 4 })),
      timestamp: fc.option(fc.integer({ min: 0, max: 4 })),
      modifiedMs: fc.integer({ min: 0, max: 4 }),
      metrics: fc.oneof(
        fc.constant({}),
        fc.record({ val_loss: metric }),
        fc.record({ val_loss: metric, val_accuracy: metric }),
      ),
      content: fc.integer({ min: 0, max: 12 }),
      isLink: fc.boolean(),
      held: fc.option(fc.constant('tagged'), { freq: 5 }),
    })
    .map(({ name, run, content, held, ...facts }) => ({
      ...facts,
      ...(held !== null && { held }),
      run,
      name,
      sizeBytes: 1,
      reason: '',
      content: String(content),
    }))
  const anyFiles = fc
    .array(anyFile, { maxLength: 12 })
    .map((files): RetentionFile[] =>
      files.map(({ name, ...facts }, index) => ({ ...facts, path: join(facts.run, String(index), name) })),
    )
  const count = fc.integer({ min: 1, max: 4 })
  const anyBest = fc.record({
    count,
    metric: fc.constantFrom('val_loss', 'val_accuracy'),
    mode: fc.constantFrom('min' as const, 'max' as const),
  })
  const anyPolicy: fc.Arbitrary<RetentionPolicy> = fc
    .record({
      invalid: fc.boolean(),
      recovered: fc.boolean(),
      keepLast: fc.option(count, { nil: undefined }),
      keepBest: fc.oneof(fc.constant(undefined), anyBest, fc.array(anyBest, { maxLength: 3 })),
    })
    .map(({ invalid, recovered, keepLast, keepBest }) => ({
      invalid,
      recovered,
      ...(keepLast !== undefined && { keepLast }),
      ...(keepBest !== undefined && { keepBest }),
    }))

  /** Checks `holds` for what goes and what stays. */
  function always(holds: (gone: RetentionFile[], stays: RetentionFile[], policy: RetentionPolicy) => void): void {
    fc.assert(
      fc.property(anyFiles, anyPolicy, (files, policy) => {
        const choices = retention.plan(files, policy)
        assert.deepEqual(
          choices.map(({ path }) => path),
          files.map(({ path }) => path),
        )
        assert.ok(choices.every(({ reason }) => typeof reason === 'string'))
        holds(
          files.filter((_file, index) => choices[index]?.keep === false),
          files.filter((_file, index) => choices[index]?.keep === true),
          policy,
        )
      }),
      { numRuns: 500 },
    )
  }

  it('only checkpoints go whose state is known', () => {
    always((gone, _stays, policy) => {
      for (const { role, kind, container, verdict, isLink } of gone) {
        assert.ok(role === 'checkpoint' || (role === 'recovered' && policy.recovered === true), role)
        assert.ok(kind !== 'inference_export' && kind !== 'shared_export')
        assert.ok(container !== 'sharded' && container !== 'distributed')
        assert.notEqual(verdict, 'unknown')
        assert.equal(isLink, false)
      }
    })
  })

  it('invalid ones go only when asked, valid ones only under a keeping rule', () => {
    always((gone, _stays, policy) => {
      const ranks = retention.keepBestRules(policy).length > 0 || policy.keepLast !== undefined
      for (const { verdict } of gone) assert.ok(verdict === 'invalid' ? policy.invalid === true : ranks)
    })
  })

  it('what is held stays', () => {
    always((gone) => assert.ok(gone.every(({ held }) => held === undefined)))
  })

  it('latest.pth and latest_best.pth stay while valid', () => {
    always((gone) => {
      for (const { path, verdict } of gone)
        assert.ok(!['latest.pth', 'latest_best.pth'].includes(basename(path)) || verdict === 'invalid')
    })
  })

  it('a run that loses a valid checkpoint keeps another valid one', () => {
    always((gone, stays) => {
      for (const { run } of gone.filter(({ verdict }) => verdict === 'valid'))
        assert.ok(
          stays.some((file) => file.run === run && file.verdict === 'valid' && file.kind === 'training_checkpoint'),
        )
    })
  })

  it('no content goes of which a name stays', () => {
    always((gone, stays) => {
      const staying = new Set(stays.map(({ content }) => content))
      assert.ok(gone.every(({ content }) => !staying.has(content)))
    })
  })

  it('nothing that goes is better, or newer, than all that stay', () => {
    always((gone, stays, policy) => {
      const isTimed = [...gone, ...stays].every(({ timestamp }) => timestamp !== null)
      for (const file of gone.filter(({ verdict }) => verdict === 'valid')) {
        const others = stays.filter(
          ({ run, verdict, kind }) => run === file.run && verdict === 'valid' && kind === 'training_checkpoint',
        )
        for (const { metric, mode } of retention.keepBestRules(policy)) {
          const score = ({ metrics }: RetentionFile) => {
            const value = metrics[metric] ?? NaN
            return Number.isNaN(value) ? Infinity : mode === 'max' ? -value : value
          }
          assert.ok(others.some((other) => score(other) <= score(file)))
        }
        if (policy.keepLast !== undefined && isTimed)
          assert.ok(others.some(({ timestamp }) => (timestamp ?? 0) >= (file.timestamp ?? 0)))
      }
    })
  })

  it('the order of the files changes nothing', () => {
    fc.assert(
      fc.property(
        anyFiles.chain((files) =>
          fc.tuple(fc.constant(files), fc.shuffledSubarray(files, { minLength: files.length })),
        ),
        anyPolicy,
        ([files, shuffled], policy) => {
          const byPath = (choices: readonly { path: string }[]) =>
            [...choices].sort((a, b) => (a.path < b.path ? -1 : 1))
          assert.deepEqual(byPath(retention.plan(shuffled, policy)), byPath(retention.plan(files, policy)))
        },
      ),
      { numRuns: 500 },
    )
  })

  it('what went does not come up again: a second plan of what stayed removes nothing', () => {
    fc.assert(
      fc.property(anyFiles, anyPolicy, (some, policy) => {
        // With a timestamp in every file the order in time is the same for all and for those that stay.
        const files = some.map((file) => ({ ...file, timestamp: file.timestamp ?? 0 }))
        const stays = files.filter((_file, index) => retention.plan(files, policy)[index]?.keep === true)
        const rest = stays.filter((_file, index) => retention.plan(stays, policy)[index]?.keep === false)
        assert.deepEqual(rest, [])
      }),
      { numRuns: 500 },
    )
  })
})
