import { Graph, TinyLatent, Dit, Embedding } from "./ports.ts"

export default Graph.make("params-missing", { version: "1.0.0" }, (g) => ({
  latents: g.input("latents", TinyLatent).pipe(
    // error: Expected 1 arguments, but got 0
    Dit().with({ text: g.input("text", Embedding) }),
  ),
}))
