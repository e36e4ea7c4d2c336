/** `npm run fuzz [-- --seconds N --seed S --only NAME --keep FOLDER]`: builds what is missing, then changes files of every container and lets everything read them. */
import { run } from './dependencies.mjs'
import { explain, prepare } from './prepare.mjs'

prepare({ tests: true })
  .then((env) => run(process.execPath, ['fuzz/run.mjs', ...process.argv.slice(2)], env))
  .catch(explain)
