import { Clip, Effect, Operator } from "./ports.ts"

export const Long = Operator.filter("long", {
  version: "1.0.0",
  input: Clip,
  // error: Type 'boolean' is not assignable to type 'Decision'
  run: (clip) => Effect.succeed(clip.seconds > 5),
})
