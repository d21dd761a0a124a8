import { Graph, TinyLatent, Train } from "./ports.ts"

export default Graph.make("side-empty", { version: "1.0.0" }, (g) => ({
  // error: Property 'text' is missing
  checkpoint: g.input("latents", TinyLatent).pipe(Train({ steps: 4 }).with({})),
}))
