import { Graph, TinyLatent, Dit, Embedding } from "./ports.ts"

export default Graph.make("param-missing", { version: "1.0.0" }, (g) => ({
  latents: g.input("latents", TinyLatent).pipe(
    // error: Property 'steps' is missing
    Dit({}).with({ text: g.input("text", Embedding) }),
  ),
}))
