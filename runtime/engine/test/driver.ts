/**
 * A run in a process of its own, to be killed, doubled or starved of disk. Arguments: JSON of {@link Task}. Prints
 * the report, or what the run failed with, as JSON.
 */
import { openSync, writeSync } from "node:fs"

import { Failure } from "@reelgraph/call"
import { Graph, Operator } from "@reelgraph/core"
import { Journal, StoreFs } from "@reelgraph/store"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Layer from "effect/Layer"
import * as Stream from "effect/Stream"

import { Engine } from "../src/index.ts"
import { inline, Num, num, nums, version } from "./harness.ts"

export interface Task {
  readonly store: string
  /** Every call appends a line to it. */
  readonly log: string
  readonly items: number
  /** The process kills itself, with SIGKILL, in this call. */
  readonly killAt?: number
}

export interface Result {
  readonly report?: Engine.Report
  readonly outputs?: ReadonlyArray<string>
  readonly failure?: { readonly tag: string; readonly message: string }
}

const { items, killAt, log, store } = JSON.parse(process.argv[2]!) as Task
const file = openSync(log, "a")
let calls = 0

const step = (name: string, by: number) =>
  Operator.map(name, {
    version,
    input: Num,
    output: Num,
    run: ({ n }) =>
      Effect.sync(() => {
        writeSync(file, `${name} ${n}\n`)
        if (++calls === killAt) process.kill(process.pid, "SIGKILL")
        return num(n + by)
      }),
  })()

const graph = Graph.make("driven", { version }, (g) => ({
  out: g.input("in", Num).pipe(step("first", 1_000_000), step("second", 1_000_000), step("third", 1_000_000)),
}))

const run = Effect.gen(function* () {
  const journal = yield* Journal
  const report = yield* Engine.run(graph, { in: Stream.fromIterable(nums(items)) })
  const outputs = journal
    .runItems(journal.run(report.run)!.id, "out:out")
    .map((id) => journal.item(id)!.record)
    .sort()
  return { report, outputs } satisfies Result
}).pipe(Effect.provide(Layer.mergeAll(StoreFs.layer(store, { durability: "none" }), inline)))

void Effect.runPromise(Effect.exit(run)).then((exit) => {
  const result: Result = Exit.isSuccess(exit) ? exit.value : { failure: Failure.fromCause(exit.cause) }
  process.stdout.write(JSON.stringify(result))
})
