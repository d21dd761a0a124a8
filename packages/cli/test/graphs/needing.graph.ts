/** A graph whose operator needs a service that `reel` does not give, and brings none. */
import { Graph, keep, Operator, Port } from "@reelgraph/core"
import { Context, Effect, Schema } from "effect"

const Num = Port.make("Num", { record: Schema.Struct({ n: Schema.Int }) })

class Captioner extends Context.Service<Captioner, { readonly url: string }>()("test/Captioner") {}

export const Ask = Operator.filter("ask", {
  version: "1.0.0",
  input: Num,
  needs: [Captioner],
  run: () => Effect.as(Captioner, keep),
})

export const needing = Graph.make("needing", { version: "1.0.0" }, (g) => ({
  out: g.input("nums", Num).pipe(Ask()),
}))
