/** A small table for `torchkeep init --example`: made up, the same each time, learnable but not without mistakes. */

/** Flowers of three species: a row is what somebody measured of one. The species differ in size, and each has colours that are more frequent. */
const species = [
  { name: 'lowland', petal: [15, 4], stem: [48, 9], weight: [2.3, 0.7], colours: ['white', 'white', 'yellow'] },
  { name: 'marsh', petal: [20, 5], stem: [57, 10], weight: [3.2, 0.8], colours: ['yellow', 'yellow', 'blue'] },
  { name: 'alpine', petal: [23, 5], stem: [45, 9], weight: [2.8, 0.7], colours: ['blue', 'blue', 'white'] },
] as const

/** The text of the table: `id,petal_mm,stem_mm,weight_g,colour,species`, 600 rows. */
export function exampleTable(): string {
  const random = randomNumbers(4)
  const normal = (): number => Array.from({ length: 12 }, random).reduce((sum, value) => sum + value, -6)
  const rows = Array.from({ length: 600 }, (_, index) => {
    const kind = species[Math.floor(random() * species.length)] ?? species[0]
    const measured = [kind.petal, kind.stem, kind.weight].map(([mean, spread]) =>
      Math.max(0.1, mean + spread * normal()).toFixed(1),
    )
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
