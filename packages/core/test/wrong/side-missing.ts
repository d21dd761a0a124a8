import { Graph, TinyLatent, Train } from "./ports.ts"

export default Graph.make("side-missing", { version: "1.0.0" }, (g) => ({
  // error: train needs the side input text
  checkpoint: g.input("latents", TinyLatent).pipe(Train({ steps: 4 })),
}))
