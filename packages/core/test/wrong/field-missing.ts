import { BareClip, Encode, Graph } from "./ports.ts"

export default Graph.make("field-missing", { version: "1.0.0" }, (g) => ({
  // error: edge bare -> encode: encode takes Clip
  latents: g.input("bare", BareClip).pipe(Encode()),
}))
