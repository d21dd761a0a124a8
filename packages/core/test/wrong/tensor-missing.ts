import { Caption, Encode, Graph } from "./ports.ts"

export default Graph.make("tensor-missing", { version: "1.0.0" }, (g) => ({
  // error: edge captions -> encode: encode takes Clip
  latents: g.input("captions", Caption).pipe(Encode()),
}))
