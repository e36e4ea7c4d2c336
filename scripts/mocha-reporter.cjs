/**
 * mocha's spec reporter, which also keeps the counts, and the files heard of, in the file that TORCHKEEP_TEST_SUMMARY names, after each
 * test: a crash loses none.
 */
const { writeFileSync } = require('node:fs')
const { reporters, Runner } = require('mocha')

module.exports = class extends reporters.Spec {
  constructor(runner, options) {
    super(runner, options)
    const file = process.env.TORCHKEEP_TEST_SUMMARY
    if (!file) return
    const counts = { passed: 0, failed: 0, skipped: 0, files: [] }
    const count = (event, key) =>
      runner.on(event, (test) => {
        counts[key] += 1
        if (test.file && !counts.files.includes(test.file)) counts.files.push(test.file)
        writeFileSync(file, JSON.stringify(counts))
      })
    count(Runner.constants.EVENT_TEST_PASS, 'passed')
    count(Runner.constants.EVENT_TEST_FAIL, 'failed')
    count(Runner.constants.EVENT_TEST_PENDING, 'skipped')
  }
}
