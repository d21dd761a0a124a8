import { Checkpoint, Effect, Operator, TinyLatent } from "./ports.ts"

export const Average = Operator.collect("average", {
  version: "1.0.0",
  input: TinyLatent,
  output: Checkpoint,
  // error: Property 'step' is missing
  run: (latents) => Effect.succeed([Operator.emit({ steps: latents.length }, [0])]),
})
