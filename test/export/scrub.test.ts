import { strict as assert } from 'node:assert'
import fc from 'fast-check'
import { gatherWords, requireUsed, scrub } from '../../src/export/scrub.js'
import { findSecrets } from '../../src/export/secrets.js'
import { IdentityWords } from '../../src/export/secrets-words.js'
import { TorchkeepError } from '../../src/format/errors.js'
import { NumpyScalar, OpaqueObject, OrderedDict, PyFloat, Tuple } from '../../src/format/values.js'
import { dict, float32 } from '../checkpoint/judged.js'
import { harmlessTexts, plantedSecrets, tellingEntries } from './planted-secrets.js'

/** No words of the machine that runs the test. */
const scrubbed = (value: unknown, options: Parameters<typeof scrub>[1] = {}) => {
  const words = new IdentityWords()
  gatherWords(value, words, options)
  return scrub(value, { words, ...options })
}

describe('scrub', () => {
  it('leaves models and trainings as they are, numbers and tensors included', () => {
    const weight = float32([2], 1)
    const config = dict({
      model: dict({
        name: 'DeepDTA',
        layers: [512, 256, 1024],
        dropout: new PyFloat(0.5),
        pad_token: '<pad>',
        max_tokens: 512,
        num_attention_heads: 8,
      }),
      tokenizer: dict({ special_tokens: ['[CLS]', '[SEP]'], pad_token_id: 0, use_auth_token: true }),
      optimizer: dict({ name: 'Adam', betas: new Tuple([0.9, 0.999]), lr: 1e-4 }),
      texts: harmlessTexts,
      driver_version: '535.12.4.1',
      cudnn: dict({ build: '9.1.0.70' }),
      host: 'localhost',
      env: dict({ name: 'CartPole-v1' }),
      device_id: 0,
      node: 'gcn',
      vocabulary: dict({ the: 1, user: 2, password: 3 }),
      latent: 0.51234,
      weight,
      none: null,
    })
    const { value, removals } = scrubbed(config)
    assert.deepEqual(removals, [])
    assert.deepEqual(value, config)
    assert.equal((value as Map<string, unknown>).get('weight'), weight)
  })

  it('takes what stands under telling keys, whatever it looks like', () => {
    const { value, removals } = scrubbed(tellingEntries)
    const text = JSON.stringify(value)
    for (const item of [
      'Jane Roe',
      'jroe77',
      'rig-number-nine',
      'Richard Miles',
      '0301234567',
      'swordfish',
      'plain-words',
      '52.52',
      '123456789',
      'b08dfa',
      '990017',
    ])
      assert.ok(!text.includes(item), `${item} is left in ${text}`)
    assert.deepEqual(
      removals.map(({ key, kind }) => [key, kind]),
      [
        ['author', 'person_name'],
        ['username', 'user_name'],
        ['hostname', 'host_name'],
        ['contact.name', 'person_name'],
        ['contact.phone', 'phone_number'],
        ['db_password', 'password'],
        ['apiKey', 'credential'],
        ['latitude', 'gps_coordinates'],
        ['ssn', 'national_id'],
        ['machine_id', 'machine_id'],
        ['job_id', 'slurm_job'],
      ],
    )
  })

  it('finds a name that a path or key told everywhere, as a whole word in any case, but no generic one', () => {
    const { value } = scrubbed({
      data: '/home/ulrike9/x.csv',
      note: 'Ulrike9 and ulrike90, run_by_ULRIKE9',
      owner: 'Ada Byron',
      description: 'thanks to ada byron; the model of root',
      login: 'root',
      optimizer: 'adam',
      other: '/home/adam/data/x',
    })
    assert.deepEqual(value, {
      data: '[removed: posix_path]',
      note: '[removed: user_name] and ulrike90, run_by_[removed: user_name]',
      owner: '[removed: user_name]',
      description: 'thanks to [removed: user_name]; the model of root',
      login: 'root',
      optimizer: 'adam',
      other: '[removed: posix_path]',
    })
  })

  it('scrubs keys, losing none; bytes; command lines; dumps of the environment; objects of other classes', () => {
    const object = new OpaqueObject('argparse.Namespace', [], null, 'new')
    object.state = dict({ data_dir: '/srv/x/y', lr: 0.1 })
    const mail = 'jane@' + 'example.org'
    const { value, removals } = scrubbed(
      dict({
        runs: dict({ [mail]: 1, ['joe@' + 'example.org']: 2 }),
        raw: new Uint8Array(Buffer.from(`by ${mail}`)),
        argv: ['train.py', '--password', 'swordfish', '--epochs', '3'],
        environ: dict({ PATH: '/bin', HOME: '/x', SHELL: 'zsh', MINE: 'abc' }),
        args: object,
        ordered: new OrderedDict([['email', 'jane']]),
        scalar: new NumpyScalar('<U3', new Uint8Array(), mail),
      }),
    )
    assert.deepEqual(
      value,
      dict({
        runs: dict({ '[removed: email]': 1, '[removed: email] 2': 2 }),
        raw: new Uint8Array(Buffer.from('by [removed: email]')),
        argv: ['train.py', '--password', '[removed: password]', '--epochs', '3'],
        environ: dict({
          PATH: '[removed: environment]',
          HOME: '[removed: environment]',
          SHELL: '[removed: environment]',
          MINE: '[removed: environment]',
        }),
        args: dict({ '(class)': 'argparse.Namespace', data_dir: '[removed: absolute_path]', lr: 0.1 }),
        ordered: new OrderedDict([['email', '[removed: email]']]),
        scalar: '[removed: email]',
      }),
    )
    assert.deepEqual(removals[0], { key: 'runs.[removed: email]', kind: 'email', count: 1 })
  })

  it('keeps what is allowed, with all below it, and says which secrets stayed', () => {
    const mail = 'jane@' + 'example.org'
    const config = { contact: { address: mail }, other: mail, paths: ['/srv/a/b', '/srv/c/d'] }
    const { value, allowed, used, removals } = scrubbed(config, {
      root: 'config',
      allow: ['config.contact', 'config.paths.1', 'config.none'],
    })
    assert.deepEqual(value, {
      contact: { address: mail },
      other: '[removed: email]',
      paths: ['[removed: absolute_path]', '/srv/c/d'],
    })
    assert.deepEqual([...allowed], [mail, '/srv/c/d'])
    assert.deepEqual([...used], ['config.contact', 'config.paths.1'])
    assert.throws(
      () => requireUsed(['config.othr'], used, removals),
      (error: unknown) =>
        error instanceof TorchkeepError &&
        error.code === 'ERR_INVALID_ARGUMENT' &&
        error.suggestions.includes('--allow config.other'),
    )
    assert.deepEqual(findSecrets(`write to ${mail}`, { allowed }), [])
  })

  it('knows names of layers from names of hosts, and refuses what is nested without end', () => {
    assert.deepEqual(scrubbed(['decoder.attn-2.local'], { names: new Set(['decoder.attn-2.local']) }).removals, [])
    assert.equal(scrubbed(['decoder.attn-2.local']).removals.length, 1)
    const endless: unknown[] = []
    endless.push(endless)
    assert.throws(
      () => scrubbed(endless),
      (error: unknown) => error instanceof TorchkeepError && error.code === 'ERR_CHECKPOINT_UNSAFE',
    )
  })

  it('scrubs once and for all: a second time there is nothing to do', () => {
    const leaf = fc.oneof(
      fc.constantFrom(...plantedSecrets.map(({ text }) => text), ...harmlessTexts),
      fc.string({ maxLength: 8 }),
      fc.integer(),
      fc.double(),
      fc.boolean(),
      fc.constant(null),
    )
    const key = fc.constantFrom(
      'user',
      'host',
      'password',
      'lr',
      'notes',
      'lat',
      'author',
      'path',
      'jane@' + 'example.org',
      '/home/jroe/x',
      'PATH',
      'HOME',
      'SHELL',
      'model',
    )
    const { tree } = fc.letrec((tie) => ({
      tree: fc.oneof(
        { depthSize: 'small' },
        leaf,
        fc.array(tie('tree'), { maxLength: 4 }),
        fc.dictionary(key, tie('tree'), { maxKeys: 4 }),
      ),
    }))
    fc.assert(
      fc.property(tree, (value) => {
        const once = scrubbed(value)
        const twice = scrubbed(once.value)
        assert.deepEqual(twice.removals, [])
        assert.deepEqual(twice.value, once.value)
      }),
      { numRuns: 200 },
    )
  })
})
