import { Clip, Effect, Operator, TinyLatent } from "./ports.ts"

export const Halve = Operator.map("halve", {
  version: "1.0.0",
  input: TinyLatent,
  output: Clip,
  // error: Property 'seconds' is missing
  run: ({ id }) => Effect.succeed({ id }),
})
