/** A graph whose calls tell how far they are. */
import { Graph, keep, Operator, Port } from "@reelgraph/core"
import * as Effect from "effect/Effect"
import * as Schema from "effect/Schema"

const Numbered = Port.make("Numbered", { record: Schema.Struct({ n: Schema.Int }) })

const Train = Operator.filter("train", {
  version: "1.0.0",
  input: Numbered,
  run: (_, __, { progress }) =>
    Effect.gen(function* () {
      for (let done = 1; done <= 10; done++) {
        yield* progress({ done, total: 10, detail: `loss 0.${done}\u001B[31m` })
        yield* Effect.sleep(100)
      }
      return keep
    }),
})

export const told = Graph.make("told", { version: "1.0.0" }, (g) => ({
  numbers: g.input("numbers", Numbered).pipe(Train()),
}))
