import { BlobStore, Caption, Captioner, Clip, Effect, Operator } from "./ports.ts"

// error: "caption needs the service test/Captioner: name it in needs: [...], or bring a layer that gives it"
export const Recaption = Operator.map("caption", {
  version: "1.0.0",
  input: Clip,
  output: Caption,
  needs: [BlobStore],
  run: ({ id }) =>
    Effect.gen(function* () {
      yield* BlobStore
      return { id, text: yield* Captioner.use((captioner) => captioner.describe(id)) }
    }),
})
