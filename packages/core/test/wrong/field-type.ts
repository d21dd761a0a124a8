import { Encode, Graph, TextClip } from "./ports.ts"

export default Graph.make("field-type", { version: "1.0.0" }, (g) => ({
  // error: edge texts -> encode: encode takes Clip
  latents: g.input("texts", TextClip).pipe(Encode()),
}))
