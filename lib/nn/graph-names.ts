/** Names for the values of a graph, made as `torch.fx` makes them (`torch/fx/graph.py`, `_Namespace.create_name`). */

/**
 * Python's keywords and built-in functions that operators are called: a value may not hide one, so it gets a number at
 * once (`sum_1`).
 */
const reserved = new Set(
  `
    abs all and any as ascii assert async await bin bool break bytearray bytes callable chr class compile
    complex continue def del delattr dict dir divmod elif else enumerate eval except exec exit filter finally
    float for format from frozenset getattr global globals hasattr hash help hex id if import in input int is
    isinstance issubclass iter lambda len license list locals map max memoryview min next nonlocal not object
    oct open or ord pass pow print property quit raise range repr return reversed round set setattr slice
    sorted staticmethod str sum super try tuple type vars while with yield zip inf nan torch device
  `
    .trim()
    .split(/\s+/),
)

export class GraphNames {
  readonly #used = new Set<string>()
  readonly #counts = new Map<string, number>()

  /** A new name: the candidate itself, or with the next number. */
  create(candidate: string): string {
    const legal = candidate.replace(/[^0-9a-zA-Z_]+/g, '_').replace(/^(?=\d)/, '_')
    const [, base = legal, digits] = /^(.*?)_(\d+)$/.exec(legal) ?? []
    let name = legal
    let number = digits === undefined ? 0 : Number(digits)
    if (digits === undefined || this.#used.has(name)) {
      number = this.#counts.get(base) ?? 0
      if (reserved.has(name)) name = `${base}_${++number}`
    }
    while (this.#used.has(name)) name = `${base}_${++number}`
    this.#used.add(name)
    this.#counts.set(base, number)
    return name
  }
}
