/** A worker's operator leaves a process that holds its pipes, and an operator of the driver leaves nothing. */
import { spawn } from "node:child_process"

import { Graph, keep, Operator, Port } from "@reelgraph/core"
import * as Effect from "effect/Effect"
import * as Schema from "effect/Schema"

const Num = Port.make("Num", { record: Schema.Struct({ n: Schema.Int }) })

/** What it leaves is in another group, and its parent has gone: nobody can tell whose it is. */
export const Linger = Operator.filter("linger", {
  version: "1.0.0",
  worker: import.meta.url,
  input: Num,
  run: () =>
    Effect.callback<typeof keep>((resume) => {
      spawn("sh", ["-c", "sleep 20 &"], { detached: true, stdio: "inherit" }).once("exit", () =>
        resume(Effect.succeed(keep)),
      )
    }),
})

const Innocent = Operator.filter("innocent", {
  version: "1.0.0",
  input: Num,
  run: () => Effect.succeed(keep),
})

export const lingering = Graph.make("lingering", { version: "1.0.0" }, (g) => ({
  out: g.input("nums", Num).pipe(Innocent(), Linger()),
}))
