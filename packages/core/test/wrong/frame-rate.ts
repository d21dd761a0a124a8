import { Encode, FastClip, Graph } from "./ports.ts"

export default Graph.make("frame-rate", { version: "1.0.0" }, (g) => ({
  // error: edge fast -> encode: encode takes Clip
  latents: g.input("fast", FastClip).pipe(Encode()),
}))
