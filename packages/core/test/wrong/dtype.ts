import { DecodeTiny, Graph, HalfLatent } from "./ports.ts"

export default Graph.make("dtype", { version: "1.0.0" }, (g) => ({
  // error: edge halves -> decode-tiny: decode-tiny takes Latent
  clips: g.input("halves", HalfLatent).pipe(DecodeTiny()),
}))
