import { Caption, Checkpoint, Clip, Effect, Graph, Operator, Port, Schema, TinyLatent } from "./ports.ts"

const Pair = Port.make("Pair", {
  record: Schema.Struct({ id: Schema.String }),
  tensors: { ...Clip.tensors, ...TinyLatent.tensors },
})
const Judge = Operator.map("judge", {
  version: "1.0.0",
  input: Pair,
  output: Caption,
  sides: { weights: Operator.one(Checkpoint), examples: Operator.all(Caption) },
  run: ({ id }) => Effect.succeed({ id, text: "" }),
})

export default Graph.make("two-sides", { version: "1.0.0" }, (g) => ({
  // error: judge needs the side input
  unwired: g.input("pairs", Pair).pipe(Judge()),
  swapped: g.input("checkpoints", Checkpoint).pipe(
    // error: edge checkpoints -> second: second takes Pair
    Judge()
      .as("second")
      .with({
        // error: edge captions -> second.weights: second.weights takes Checkpoint, but this edge carries Caption
        weights: g.input("captions", Caption),
        // error: edge weights -> second.examples: second.examples takes Caption
        examples: g.input("weights", Checkpoint),
      }),
  ),
}))
