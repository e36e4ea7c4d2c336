/** A small table for `torchkeep init --example`: made up, the same each time, learnable but not without mistakes. */

/** Flowers of three species: a row is what somebody measured of one. The species differ in size, and each has colours that are more frequent. */
const species = [
  { name: 'lowland', petal: [14, 3], stem: [48, 8], weight: [2.1, 0.5], colours: ['white', 'white', 'yellow'] },
  { name: 'marsh', petal: [21, 4], stem: [61, 9], weight: [3.4, 0.7], colours: ['yellow', 'yellow', 'blue'] },
  { name: 'alpine', petal: [26, 4], stem: [43, 7], weight: [2.9, 0.6], colours: ['blue', 'blue', 'white'] },
] as const

/** The text of the table: `id,petal_mm,stem_mm,weight_g,colour,species`, 240 rows. */
export function exampleTable(): string {
  const random = randomNumbers(4)
  const normal = (): number => Array.from({ length: 12 }, random).reduce((sum, value) => sum + value, -6)
  const rows = Array.from({ length: 240 }, (_, index) => {
    const kind = species[Math.floor(random() * species.length)] ?? species[0]
    const measured = [kind.petal, kind.stem, kind.weight].map(([mean, spread]) => (mean + spread * normal()).toFixed(1))
    const colour = kind.colours[Math.floor(random() * kind.colours.length)]
    return [`f${String(index + 1).padStart(3, '0')}`, ...measured, colour, kind.name].join(',')
  })
  return ['id,petal_mm,stem_mm,weight_g,colour,species', ...rows, ''].join('\n')
}

/** Numbers in [0, 1) from a linear congruential generator of 32 bits (Numerical Recipes): the same on every machine. */
function randomNumbers(seed: number): () => number {
  let state = seed
  return () => {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0
    return state / 2 ** 32
  }
}
