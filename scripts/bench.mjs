/** `npm run bench [-- training|inference|checkpoints] [--seconds N] [--rounds N] [--gib N]`: builds what is missing, then measures against Python run beside it. */
import { run } from './dependencies.mjs'
import { explain, prepare } from './prepare.mjs'

prepare({ tests: true })
  .then((env) => run(process.execPath, ['bench/run.mjs', ...process.argv.slice(2)], env))
  .catch(explain)
