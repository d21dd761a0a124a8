import { Encode, Graph, SmallClip } from "./ports.ts"

export default Graph.make("shape", { version: "1.0.0" }, (g) => ({
  // error: edge small -> encode: encode takes Clip
  latents: g.input("small", SmallClip).pipe(Encode()),
}))
