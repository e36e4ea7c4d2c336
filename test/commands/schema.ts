/** Checks what a command printed with `--json` against its published schema. */
import assert from 'node:assert/strict'
import { readdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { Ajv2020 } from 'ajv/dist/2020.js'
import { packageRoot } from '../../src/libtorch/index.js'

const folder = join(packageRoot, 'schemas')
const validator = new Ajv2020({ strict: true, allowUnionTypes: true, allErrors: true })
for (const name of readdirSync(folder))
  validator.addSchema(JSON.parse(readFileSync(join(folder, name), 'utf8')) as object, name)

/**
 * The value that `torchkeep COMMAND --json` printed, which is strict JSON, valid under `schemas/COMMAND.json` and, as every schema also takes it, may be the failure form. Fails the calling
 * test with what is wrong where it is not.
 */
export function checkedJson(command: string, stdout: string): unknown {
  const value: unknown = JSON.parse(stdout)
  const isError = typeof value === 'object' && value !== null && 'error' in value
  // Of `oneOf` every branch would complain: the branch that is meant says what is wrong.
  const schema = isError ? 'error.json' : `${command}.json#/$defs/result`
  const wrong = errorsOf(schema, value) ?? errorsOf(`${command}.json`, value)
  assert.equal(wrong, null, `torchkeep ${command} --json is not valid under schemas/${schema}: ${wrong}`)
  return value
}

function errorsOf(schema: string, value: unknown): string | null {
  const validate = validator.getSchema(schema)
  assert.ok(validate !== undefined, `there is no schema ${schema}`)
  if (validate(value) === true) return null
  return validator.errorsText(validate.errors, { dataVar: 'it', separator: '\n' })
}
