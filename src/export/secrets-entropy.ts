/** Long random texts of no known form: most keys look so, and nothing that describes a model does. */

/** Runs of the letters of base64 and base64url, long enough for a key. Checksums (hexadecimal) match too; {@link isRandomText} leaves them. */
export const randomTokens = /(?<![\w+/=-])[A-Za-z0-9+/_-]{28,}={0,2}(?![\w+/=-])/dg

/**
 * Whether a token looks drawn at random. Names change between small letters, capitals and digits seldom, random texts at most letters. Hexadecimal texts are no secrets by themselves: hashes and checksums are; neither are
 * protein sequences (one case, no digits) and SMILES (few different letters).
 */
export function isRandomText(token: string): boolean {
  const letters = token.replace(/=+$/, '')
  if (/^(?:[0-9a-f]+|[0-9A-F]+)$/.test(letters) || /^[\d_+/-]+$/.test(letters)) return false
  if (!/\d/.test(letters) || !/[A-Za-z]/.test(letters)) return false
  const separators = letters.match(/[_/+-]/g)?.length ?? 0
  if (separators > Math.max(2, letters.length / 10)) return false
  return entropyBits(letters) >= 3.9 && switches(letters) >= letters.length * 0.35
}

/** Bits a letter, by the frequencies in the text. */
function entropyBits(text: string): number {
  const counts = new Map<string, number>()
  for (const letter of text) counts.set(letter, (counts.get(letter) ?? 0) + 1)
  return [...counts.values()].reduce((bits, count) => bits - (count / text.length) * Math.log2(count / text.length), 0)
}

/** How often a letter is of another class than the one before it. */
function switches(text: string): number {
  const classes = [...text].map((letter) =>
    /[a-z]/.test(letter) ? 'a' : /[A-Z]/.test(letter) ? 'A' : /\d/.test(letter) ? '1' : '',
  )
  return classes.filter((kind, index) => index > 0 && kind !== '' && kind !== classes[index - 1]).length
}
