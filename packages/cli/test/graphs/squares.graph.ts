/** Work for other processes, which may be on other machines. */
import { Graph, Operator, Port } from "@reelgraph/core"
import { Effect, Schema } from "effect"

const Num = Port.make("Num", { record: Schema.Struct({ n: Schema.Int }) })

export const Square = Operator.map("square", {
  version: "1.0.0",
  worker: import.meta.url,
  input: Num,
  output: Num,
  run: ({ n }) => Effect.succeed({ n: n * n }),
})

export const squares = Graph.make("squares", { version: "1.0.0" }, (g) => ({
  out: g.input("nums", Num).pipe(Square()),
}))
