/** Changes of JSON texts that stay JSON. */
const oddValues = [
  null,
  true,
  -1,
  0,
  1.5,
  1e300,
  2 ** 53,
  2 ** 31,
  '',
  '..',
  '../x',
  '/etc/passwd',
  'a\0b',
  [],
  {},
  [[]],
  { __proto__: null },
  'F32',
  'I64',
  'BF16',
  'F8_E4M3',
]

/** A changed JSON text; what is no JSON (any more) stays. */
export function mutateJson(random, bytes) {
  const value = parse(bytes.toString())
  if (value === undefined) return bytes
  const places = []
  collect(value, places)
  for (let count = random.few(3); count > 0 && places.length > 0; count--) {
    const { parent, key } = random.pick(places)
    const kind = random.below(6)
    if (kind === 0) delete parent[key]
    else if (kind === 1) parent[key] = random.pick(oddValues)
    else if (kind === 2) parent[key] = random.pick(places).parent[random.pick(places).key]
    else if (kind === 3 && typeof parent[key] === 'number') parent[key] += random.pick([-1, 1, 8, 2 ** 32])
    else if (kind === 4 && !Array.isArray(parent)) parent[random.pick(['__proto__', 'x', `${key} `, ''])] = parent[key]
    else if (Array.isArray(parent)) parent.splice(key, 0, parent[key])
  }
  const text = safeText(value)
  return Buffer.from(random.below(8) === 0 ? nest(random, text) : text)
}

function parse(text) {
  try {
    return JSON.parse(text)
  } catch (error) {
    if (!(error instanceof SyntaxError)) throw error
    return undefined
  }
}

function collect(value, places) {
  if (typeof value !== 'object' || value === null) return
  for (const key of Object.keys(value)) {
    places.push({ parent: value, key })
    collect(value[key], places)
  }
}

/** Values may have been hung into themselves. */
function safeText(value) {
  try {
    return JSON.stringify(value)
  } catch (error) {
    if (!(error instanceof TypeError)) throw error
    return '{}'
  }
}

function nest(random, text) {
  const depth = random.pick([10, 1000, 100_000])
  return `${'['.repeat(depth)}${text}${']'.repeat(depth)}`
}
