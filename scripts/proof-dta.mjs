/** `npm run proof:dta -- FOLDER [--batch N] [--epochs N] [--threads N]`: builds what is missing, then shows on real data that examples/dta has plain PyTorch's bits and learns. */
import { run } from './dependencies.mjs'
import { explain, prepare } from './prepare.mjs'

prepare({ tests: true })
  .then((env) => run(process.execPath, ['bench/dta.mjs', ...process.argv.slice(2)], env))
  .catch(explain)
