/** A graph whose operator, in the driver, does what operators must not do. */
import { appendFileSync, existsSync } from "node:fs"

import { Graph, keep, Operator, Port } from "@reelgraph/core"
import * as Effect from "effect/Effect"
import * as Schema from "effect/Schema"

const Numbered = Port.make("Numbered", { record: Schema.Struct({ n: Schema.Int }) })

const misdeeds: { readonly [how: string]: (log: string) => Effect.Effect<typeof keep> } = {
  exit: () => Effect.sync((): never => process.exit(0)),
  chdir: () =>
    Effect.sync(() => {
      process.chdir("/")
      return keep
    }),
  timer: () =>
    Effect.sync(() => {
      setInterval(() => {}, 1000)
      return keep
    }),
  rejects: () =>
    Effect.callback(() => {
      void Promise.reject(new Error("too late"))
    }),
  throws: () =>
    Effect.callback(() => {
      setTimeout(() => {
        throw new Error("too late")
      }, 1)
    }),
  exitLater: () =>
    Effect.callback(() => {
      setTimeout(() => process.exit(0), 1)
    }),
  stuck: (log) =>
    Effect.promise(() => {
      appendFileSync(log, "stuck\n")
      return new Promise(() => {})
    }),
  busy: (log) =>
    Effect.sync(() => {
      appendFileSync(log, "busy\n")
      // oxlint-disable-next-line no-constant-condition, no-empty -- for ever
      while (true) {}
    }),
  awaits: (log) =>
    Effect.gen(function* () {
      appendFileSync(log, "awaits\n")
      while (!existsSync(`${log}.go`)) yield* Effect.sleep(10)
      // What a run writes meanwhile meets the closed stream.
      console.log("going on")
      return keep
    }),
  waits: (log) =>
    Effect.suspend(() => {
      appendFileSync(log, "waits\n")
      return Effect.as(Effect.sleep("1 hour"), keep)
    }),
}

const Unruly = Operator.filter("unruly", {
  version: "1.0.0",
  input: Numbered,
  params: Schema.Struct({ how: Schema.String, log: Schema.String }),
  run: ({ n }, { how, log }) => (n === 0 ? Effect.succeed(keep) : misdeeds[how]!(log)),
})

export const unruly = Graph.make("unruly", { version: "1.0.0" }, (g) => ({
  numbers: g.input("numbers", Numbered).pipe(Unruly({ how: "", log: "" })),
}))
