import { Clip, Effect, keep, Operator } from "./ports.ts"

export const Any = Operator.filter("any", {
  version: "1.0.0",
  input: Clip,
  // error: 'output' does not exist
  output: Clip,
  run: () => Effect.succeed(keep),
})
