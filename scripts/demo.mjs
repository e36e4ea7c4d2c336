/** `npm run demo`: installs and builds what is missing, then runs the demo. */
import { run } from './dependencies.mjs'
import { explain, prepare } from './prepare.mjs'

prepare()
  .then((env) => run(process.execPath, ['examples/demo.mjs', ...process.argv.slice(2)], env))
  .catch(explain)
