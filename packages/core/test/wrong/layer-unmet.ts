import { Caption, Captioner, captionerOfStore, Clip, Operator } from "./ports.ts"

// error: "caption needs the service test/BlobStore: name it in needs: [...], or bring a layer that gives it"
export const Recaption = Operator.batch("caption", {
  version: "1.0.0",
  input: Clip,
  output: Caption,
  size: 4,
  layer: captionerOfStore,
  run: (clips) => Captioner.use((captioner) => captioner.all(clips)),
})
