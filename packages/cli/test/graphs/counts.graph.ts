/** Records alone, many of them, each with some text of its own; at one of them something may be done. */
import { rmSync } from "node:fs"

import { Graph, Operator, Port } from "@reelgraph/core"
import * as Effect from "effect/Effect"
import * as Schema from "effect/Schema"

const Num = Port.make("Num", { record: Schema.Struct({ n: Schema.Int }) })
const Text = Port.make("Text", { record: Schema.Struct({ n: Schema.Int, text: Schema.String }) })

const Spell = Operator.map("spell", {
  version: "1.0.0",
  input: Num,
  output: Text,
  params: Schema.Struct({
    /** A folder to remove, at the record 50. */
    remove: Schema.String.pipe(Schema.withDecodingDefaultKey(Effect.succeed(""))),
  }),
  run: ({ n }, { remove }) =>
    Effect.sync(() => {
      if (n === 50 && remove !== "") rmSync(remove, { recursive: true })
      return { n, text: `${n} `.repeat(100) }
    }),
})

export const counts = Graph.make("counts", { version: "1.0.0" }, (g) => ({
  out: g.input("nums", Num).pipe(Spell()),
}))
