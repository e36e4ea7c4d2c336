/**
 * Writes oclif.manifest.json, from which the packed commands load without reading every command file. Does what `oclif manifest` does through
 * @oclif/core, which is a dependency anyway: the oclif package would bring 30 MB of generators and uploaders for this one file.
 */
import { Plugin } from '@oclif/core'
import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { root } from './dependencies.mjs'

const plugin = new Plugin({
  root,
  type: 'core',
  ignoreManifest: true,
  errorOnManifestCreate: true,
  respectNoCacheDefault: true,
})
plugin
  .load()
  .then(() => writeFileSync(join(root, 'oclif.manifest.json'), JSON.stringify(plugin.manifest, null, 2) + '\n'))
  .catch((error) => {
    console.error(error)
    process.exit(1)
  })
