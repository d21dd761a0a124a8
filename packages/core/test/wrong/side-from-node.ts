import { Dit, Embed, Graph, TinyLatent } from "./ports.ts"

export default Graph.make("side-from-node", { version: "1.0.0" }, (g) => ({
  // error: dit.text takes an edge
  latents: g.input("noise", TinyLatent).pipe(Dit({ steps: 4 }).with({ text: Embed() })),
}))
