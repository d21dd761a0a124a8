/** A graph whose every call takes a while, and fails on request. */
import { appendFileSync, existsSync } from "node:fs"

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
    /** File that has a line for each call that has begun, if it is there. */
    log: Schema.String.pipe(Schema.withDecodingDefaultKey(Effect.succeed(""))),
    /** While this file is there, calls from 8 on do not end. */
    hold: Schema.String.pipe(Schema.withDecodingDefaultKey(Effect.succeed(""))),
  }),
  run: ({ n }, { hold, log, ms, unlucky }) =>
    Effect.gen(function* () {
      if (log !== "") appendFileSync(log, `${n}\n`)
      if (n === unlucky) return yield* new Unlucky({ n })
      yield* Effect.sleep(ms)
      if (n >= 8) while (existsSync(hold)) yield* Effect.sleep(5)
      return keep
    }),
})

export const slow = Graph.make("slow", { version: "1.0.0" }, (g) => ({
  numbers: g.input("numbers", Numbered).pipe(Slow()),
}))
