import { Graph, TinyLatent, Dit, Embedding } from "./ports.ts"

export default Graph.make("param-type", { version: "1.0.0" }, (g) => ({
  latents: g.input("latents", TinyLatent).pipe(
    // error: Type 'string' is not assignable to type 'number'
    Dit({ steps: "4" }).with({ text: g.input("text", Embedding) }),
  ),
}))
