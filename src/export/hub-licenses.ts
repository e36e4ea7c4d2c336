/** The identifiers that a model card's `license` may have. */
import { TorchkeepError } from '../format/errors.js'
import { nearNames } from '../format/near-names.js'

/** As listed at https://huggingface.co/docs/hub/repositories-licenses. */
export const hubLicenses: readonly string[] = (
  'apache-2.0 mit openrail bigscience-openrail-m creativeml-openrail-m bigscience-bloom-rail-1.0 bigcode-openrail-m afl-3.0 artistic-2.0 bsl-1.0 bsd bsd-2-clause bsd-3-clause bsd-3-clause-clear c-uda cc cc0-1.0 cc-by-2.0 cc-by-2.5 ' +
  'cc-by-3.0 cc-by-4.0 cc-by-sa-3.0 cc-by-sa-4.0 cc-by-nc-2.0 cc-by-nc-3.0 cc-by-nc-4.0 cc-by-nd-4.0 cc-by-nc-nd-3.0 cc-by-nc-nd-4.0 cc-by-nc-sa-2.0 cc-by-nc-sa-3.0 cc-by-nc-sa-4.0 cdla-sharing-1.0 cdla-permissive-1.0 cdla-permissive-2.0 ' +
  'wtfpl ecl-2.0 epl-1.0 epl-2.0 etalab-2.0 eupl-1.1 eupl-1.2 agpl-3.0 gfdl gpl gpl-2.0 gpl-3.0 lgpl lgpl-2.1 lgpl-3.0 isc h-research intel-research lppl-1.3c ms-pl apple-ascl apple-amlr mpl-2.0 odc-by odbl openmdw-1.0 openrail++ osl-3.0 postgresql ' +
  'ofl-1.1 ncsa unlicense zlib pddl lgpl-lr deepfloyd-if-license fair-noncommercial-research-license llama2 llama3 llama3.1 llama3.2 llama3.3 llama4 grok2-community gemma unknown other'
).split(' ')

/**
 * The identifier as the Hub writes it: `MIT` is `mit`.
 *
 * @throws TorchkeepError `ERR_INVALID_ARGUMENT` with the nearest ones.
 */
export function checkLicense(license: string): string {
  const name = license.trim().toLowerCase()
  if (hubLicenses.includes(name)) return name
  const letters = /^[a-z]*/.exec(name)?.[0] ?? ''
  const alike = letters.length < 3 ? [] : hubLicenses.filter((other) => other.startsWith(letters)).slice(0, 5)
  const near = new Set([...nearNames(name, hubLicenses), ...alike])
  throw new TorchkeepError('ERR_INVALID_ARGUMENT', `license: '${license}' is no identifier of the Hugging Face Hub`, {
    suggestions: [
      ...near,
      "'other' stands for any that is not listed at https://huggingface.co/docs/hub/repositories-licenses",
    ],
  })
}
