import { Clip, DecodeWan, Encode, Graph, Short } from "./ports.ts"

export default Graph.make("latent-of-another-vae", { version: "1.0.0" }, (g) => ({
  // error: edge encode -> decode: decode takes Latent
  clips: g.input("clips", Clip).pipe(Short(), Encode(), DecodeWan()),
}))
