/** oclif's hook for a command that does not exist: the error names the commands that may have been meant. */
import { Errors, type Hook } from '@oclif/core'
import { exitCodes } from './exit-codes.js'
import { nearNames } from '../format/near-names.js'
import { strictJson } from './strict-json.js'

const commandNotFound: Hook.CommandNotFound = async function ({ id, argv, config }) {
  const typed = id.replaceAll(':', ' ')
  const [word = ''] = typed.split(' ')
  const names = config.commands.filter(({ hidden }) => !hidden).map(({ id: name }) => name)
  const near = nearNames(word, names)
  const suggestions = (near.length > 0 ? near : ['--help']).map((name) => `${config.bin} ${name}`)
  const message = `there is no command '${word}'`
  if (argv?.includes('--json')) {
    this.log(strictJson({ error: { code: 'ERR_USAGE', message, suggestions } }))
    throw new Errors.ExitError(exitCodes.usage)
  }
  const error = new Errors.CLIError(message, { exit: exitCodes.usage })
  throw Object.assign(error, { suggestions })
}

export default commandNotFound
