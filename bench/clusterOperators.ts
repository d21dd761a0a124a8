/** Operators that do nothing but take their time: what is measured with them is what is around the calls. */
import { Operator, Port } from "@reelgraph/core"
import * as Effect from "effect/Effect"
import * as Schema from "effect/Schema"

const version = "1.0.0"
const worker = import.meta.url

export const Num = Port.make("Num", { record: Schema.Struct({ n: Schema.Int }) })

const Millis = Schema.Struct({ ms: Schema.Finite })

/** Sleeps for so long. */
export const Sleep = Operator.map("bench-sleep", {
  version,
  worker,
  input: Num,
  output: Num,
  params: Millis,
  run: ({ n }, { ms }) => Effect.as(Effect.sleep(ms), { n: n + 1 }),
})

/** The same under another name, for a second stage. */
export const Doze = Operator.map("bench-doze", {
  version,
  worker,
  input: Num,
  output: Num,
  params: Millis,
  run: ({ n }, { ms }) => Effect.as(Effect.sleep(ms), { n: 2 * n }),
})

/** Nothing, to 256 at once. */
export const Nothing = Operator.batch("bench-nothing", {
  version,
  worker,
  input: Num,
  output: Num,
  size: 256,
  run: (nums) => Effect.succeed(nums),
})
