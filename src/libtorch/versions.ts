/** Which LibTorch versions Torchkeep is made for. */

/** The version that `setup` fetches unless told otherwise. */
export const defaultVersion = '2.13.0'

/** Minor versions that the test suite has run with. Others are used with a warning. */
export const testedVersions: readonly string[] = ['2.11', '2.13']

/** True for a version such as `2.13.0+cpu` whose minor version is one of {@link testedVersions}. */
export function isTested(version: string): boolean {
  return testedVersions.includes(version.split('.').slice(0, 2).join('.'))
}

/** The version without its local part: `2.13.0` for `2.13.0+cu130`. */
export function publicVersion(version: string): string {
  return version.split('+', 1)[0] ?? version
}

/** One sentence for versions that nobody has tried, or null. */
export function versionWarning(version: string): string | null {
  if (isTested(version)) return null
  return `LibTorch ${version} is untested with this release of Torchkeep (tested: ${testedVersions.join(', ')})`
}
