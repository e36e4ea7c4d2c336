/** Flags that several commands have. */
import { Flags } from '@oclif/core'

/** `--checkpoint-dir`: the folder in which `latest`, `best` and bare names are looked up. */
export const checkpointDirFlag = {
  'checkpoint-dir': Flags.string({
    summary: 'Folder in which latest, best and bare names are looked up.',
    helpValue: 'DIR',
    default: 'checkpoints',
  }),
}
