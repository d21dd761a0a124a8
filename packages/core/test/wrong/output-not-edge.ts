import { Clip, Encode, Graph } from "./ports.ts"

export default Graph.make("output-not-edge", { version: "1.0.0" }, (g) => ({
  clips: g.input("clips", Clip),
  // error: is not assignable to type 'AnyEdge'
  encode: Encode(),
}))
