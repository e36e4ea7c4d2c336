/** Finding, fetching and building: what commands and scripts use of this folder. Nothing here loads the addon. */
export { buildAddon, packageRoot, type BuildKind, type BuildResult } from './build.js'
export { cacheFolder, type Variant } from './cache.js'
export { findPython } from './python.js'
export { findLibTorch, locateLibTorch, type FoundLibTorch } from './locate.js'
export { setup, type SetupOptions, type SetupResult } from './setup.js'
export { defaultVersion, testedVersions } from './versions.js'
