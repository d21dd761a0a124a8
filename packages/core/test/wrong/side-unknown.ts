import { Caption, Embed, Graph, TinyLatent, Train } from "./ports.ts"

export default Graph.make("side-unknown", { version: "1.0.0" }, (g) => {
  const text = g.input("captions", Caption).pipe(Embed())
  const train = Train({ steps: 4 })
  // error: train has no side input prompt
  return { checkpoint: g.input("latents", TinyLatent).pipe(train.with({ text, prompt: text })) }
})
