/** `npm run fuzz [-- --seconds N --seed S --only NAME --keep FOLDER]`: builds what is missing (no addon is needed), then changes files of every container and lets everything read them. */
import { installDependencies, root, run } from './dependencies.mjs'
import { explain } from './prepare.mjs'
import { prepareTestPython } from './test-python.mjs'

async function fuzz() {
  installDependencies()
  run(process.execPath, [`${root}/node_modules/typescript/bin/tsc`, '-b'])
  const env = { TORCHKEEP_TEST_PYTHON: await prepareTestPython() }
  run(process.execPath, ['fuzz/run.mjs', ...process.argv.slice(2)], env)
}

fuzz().catch(explain)
