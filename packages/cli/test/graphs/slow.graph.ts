/** A graph whose every call takes a while, and fails on request. */
import { Graph, keep, Operator, Port } from "@reelgraph/core"
import * as Effect from "effect/Effect"
import * as Schema from "effect/Schema"

const Numbered = Port.make("Numbered", { record: Schema.Struct({ n: Schema.Int }) })

class Unlucky extends Schema.TaggedError<Unlucky>()("Unlucky", { n: Schema.Int }) {
  override get message() {
    return `${this.n} has no luck`
  }
}

const Slow = Operator.filter("slow", {
  version: "1.0.0",
  input: Numbered,
  params: Schema.Struct({
    ms: Schema.Finite.check(Schema.isGreaterThanOrEqualTo(0)).pipe(
      Schema.withDecodingDefaultKey(Effect.succeed(200)),
    ),
    unlucky: Schema.Int.pipe(Schema.withDecodingDefaultKey(Effect.succeed(-1))),
  }),
  run: ({ n }, { ms, unlucky }) =>
    n === unlucky ? Effect.fail(new Unlucky({ n })) : Effect.as(Effect.sleep(ms), keep),
})

export const slow = Graph.make("slow", { version: "1.0.0" }, (g) => ({
  numbers: g.input("numbers", Numbered).pipe(Slow()),
}))
