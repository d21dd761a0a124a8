import { Caption, Dit, Graph, TinyLatent } from "./ports.ts"

export default Graph.make("caption-for-embedding", { version: "1.0.0" }, (g) => {
  const text = g.input("captions", Caption)
  // error: edge captions -> dit.text: dit.text takes Embedding
  return { latents: g.input("noise", TinyLatent).pipe(Dit({ steps: 4 }).with({ text })) }
})
