import { BlobStore, Captioner, captionerOf, Clip, Effect, keep, Layer, Operator } from "./ports.ts"

// error: "short needs the service test/BlobStore, test/Captioner: name it in needs
export const Short = Operator.filter("short", {
  version: "1.0.0",
  input: Clip,
  run: () => Effect.as(Effect.andThen(BlobStore, Captioner), keep),
})

// error: "bright needs the service test/BlobStore: name it in needs
export const Bright = Operator.filter("bright", {
  version: "1.0.0",
  input: Clip,
  layer: Layer.succeed(
    Captioner,
    captionerOf(() => ""),
  ),
  run: () => Effect.as(Effect.andThen(BlobStore, Captioner), keep),
})
