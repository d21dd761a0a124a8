import { Encode, FullRangeClip, Graph } from "./ports.ts"

export default Graph.make("colour-range", { version: "1.0.0" }, (g) => ({
  // error: edge full -> encode: encode takes Clip
  latents: g.input("full", FullRangeClip).pipe(Encode()),
}))
