import { Caption, Clip, DecodeWan, Encode, Graph } from "./ports.ts"

export default Graph.make("two-mistakes", { version: "1.0.0" }, (g) => ({
  // error: edge encode -> decode: decode takes Latent
  clips: g.input("clips", Clip).pipe(Encode(), DecodeWan(), Encode().as("again")),
  // error: edge captions -> more: more takes Clip
  latents: g.input("captions", Caption).pipe(Encode().as("more")),
}))
