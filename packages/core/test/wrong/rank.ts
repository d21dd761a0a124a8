import { Encode, Frame, Graph } from "./ports.ts"

export default Graph.make("rank", { version: "1.0.0" }, (g) => ({
  // error: edge frames -> encode: encode takes Clip
  latents: g.input("frames", Frame).pipe(Encode()),
}))
