import { Clip, Encode, Graph } from "./ports.ts"

export default Graph.make("param-of-none", { version: "1.0.0" }, (g) => ({
  // error: Type 'number' is not assignable to type 'never'
  latents: g.input("clips", Clip).pipe(Encode({ crf: 20 })),
}))
