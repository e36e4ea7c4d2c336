import * as z from 'zod'
export const data = z.record(z.string(), z.unknown())
