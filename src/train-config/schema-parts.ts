/** Kinds of values that several parts of the configuration have. */
import * as z from 'zod'

export const count = z.int().min(1)
export const whole = z.int().min(0)
export const positive = z.number().positive()
export const notNegative = z.number().min(0)
export const fraction = z.number().min(0).max(1)
export const path = z.string().min(1)
export const name = z.string().min(1)

/** Something that a module of the user's own exports. */
export const exported = z
  .strictObject({
    file: path.describe('Path of a .js, .mjs, .cjs, .ts or .mts file.'),
    export: name.optional().describe('Name of the export; `default` unless given.'),
    options: z
      .record(z.string(), z.unknown())
      .optional()
      .describe('Passed to a model: plain values, kept in the checkpoints.'),
  })
  .describe('What a module exports.')
