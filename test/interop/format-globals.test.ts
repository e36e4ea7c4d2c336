/** The allow-list is torch's own: the same names, no more, no fewer. */
import assert from 'node:assert/strict'
import { allowedGlobals } from '../../src/format/globals.js'
import { needPython, runPython } from '../python.js'

describe('format: the allow-list', () => {
  it("equals torch's default globals of weights_only", async function () {
    needPython(this)
    const stdout = await runPython(`from torch._weights_only_unpickler import _get_allowed_globals
print(json.dumps(list(_get_allowed_globals())))`)
    assert.deepEqual([...allowedGlobals].sort(), (JSON.parse(stdout) as string[]).sort())
    assert.equal(allowedGlobals.size, 144)
  })
})
