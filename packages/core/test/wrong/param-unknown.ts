import { Graph, TinyLatent, Dit, Embedding } from "./ports.ts"

export default Graph.make("param-unknown", { version: "1.0.0" }, (g) => ({
  latents: g.input("latents", TinyLatent).pipe(
    // error: 'step' does not exist
    Dit({ steps: 4, step: 5 }).with({ text: g.input("text", Embedding) }),
  ),
}))
