/** Real runs with a shared journal: on another machine every result, run and lineage is there. */
import { join } from "node:path"

import { assert, it } from "@effect/vitest"
import { drop, Graph, keep, Operator, Port } from "@reelgraph/core"
import { Executor, layerInline } from "@reelgraph/call"
import { Engine } from "@reelgraph/engine"
import { BlobStoreMemory, Journal, JournalShared, Lineage, Objects } from "@reelgraph/store"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Option from "effect/Option"
import * as Schema from "effect/Schema"
import * as Stream from "effect/Stream"

import { temporaryFolder } from "./curation.ts"

const version = "1.0.0"
const Num = Port.make("Num", { record: Schema.Struct({ n: Schema.Int }) })
const common = { version, input: Num, output: Num }

let made = 0
const counted = <A, E>(effect: Effect.Effect<A, E>) =>
  Effect.andThen(
    Effect.sync(() => void made++),
    effect,
  )

const Small = Operator.filter("small", {
  version,
  input: Num,
  run: ({ n }) => counted(Effect.succeed(n < 40 ? keep : drop("too-large", String(n)))),
})
const Double = Operator.map("double", {
  ...common,
  run: ({ n }) => counted(n % 7 === 3 ? Effect.fail(`poison ${n}`) : Effect.succeed({ n: n * 2 })),
})
const Sum = Operator.collect("sum", {
  ...common,
  run: (records) =>
    counted(
      Effect.succeed([
        Operator.emit(
          { n: 1000 + records.reduce((total, { n }) => total + n, 0) },
          records.map((_, at) => at),
        ),
        ...records.map(({ n }, at) =>
          n % 2 === 0 ? Operator.pass(at) : Operator.dropAt(at, drop("odd", String(n))),
        ),
      ]),
    ),
})
const Count = Operator.map("count", {
  ...common,
  sides: { all: Operator.all(Num) },
  run: ({ n }, _, { sides }) => counted(Effect.succeed({ n: n + 10_000 * sides.all.length })),
})

const graph = Graph.make("shared", { version }, (g) => {
  const small = g.input("in", Num).pipe(Small())
  const doubled = small.pipe(Double())
  return { summed: small.pipe(Sum()), counted: doubled.pipe(Count().with({ all: doubled })) }
})

const run = Engine.run(graph, { in: Stream.range(0, 59).pipe(Stream.map((n) => ({ n }))) })

const bucketLayer = (bucket: Map<string, Uint8Array<ArrayBuffer>>) =>
  Layer.succeed(
    Objects,
    Objects.of({
      put: (name, bytes) => Effect.sync(() => void bucket.set(name, new Uint8Array(bytes))),
      get: (name) => Effect.sync(() => Option.fromNullishOr(bucket.get(name))),
      list: (folder) =>
        Stream.suspend(() =>
          Stream.fromIterable([...bucket.keys()].filter((name) => name.startsWith(`${folder}/`)).sort()),
        ),
      remove: (name) => Effect.sync(() => void bucket.delete(name)),
    }),
  )

const inline = layerInline({ name: "here", cores: 2, memoryGiB: 8, gpus: 0 })

/** All that a journal tells of its runs, by digest. */
const told = (journal: typeof Journal.Service) => {
  const digestOf = (item: number) => journal.item(item)!.digest
  const refusals = (all: ReadonlyArray<{ readonly item: number; readonly node: string }>) =>
    all.map((refusal) => JSON.stringify({ ...refusal, item: digestOf(refusal.item) })).sort()
  return journal.runs().map(({ id, ...row }) => ({
    ...row,
    failures: refusals(journal.failures(id)),
    dropped: refusals(journal.dropped(id)),
    ports: [...journal.runPorts(id)].sort().map((port) => ({
      port,
      items: journal
        .runItems(id, port)
        .map((item) => {
          const steps = [
            ...Lineage.up(journal, [item]).values(),
            ...Lineage.down(journal, [item]).values(),
          ].map((entry) => ({
            item: digestOf(entry.item),
            links: entry.links.map(({ items, step }) => [
              step.operator.digest,
              step.run,
              step.startedMs,
              journal.runsOfCall(step.call).join(),
              items.map(digestOf).sort(),
            ]),
            kept: entry.keptBy.map((step) => step.operator.name).sort(),
            lost: entry.lostBy.map((step) => [step.operator.name, step.reason, step.detail].join(" ")).sort(),
          }))
          return JSON.stringify([digestOf(item), steps.map((step) => JSON.stringify(step)).sort()])
        })
        .sort(),
    })),
  }))
}

it.live(
  "tells another machine of every result, run and lineage",
  () =>
    Effect.gen(function* () {
      const folder = yield* temporaryFolder
      const bucket = new Map<string, Uint8Array<ArrayBuffer>>()
      const on = (file: string) =>
        Layer.mergeAll(
          JournalShared.layer(join(folder, file), { durability: "normal", segmentSize: 10_000 }).pipe(
            Layer.provide(bucketLayer(bucket)),
          ),
          BlobStoreMemory.layer,
          inline,
        )
      const failed = 6
      const here = yield* Effect.gen(function* () {
        yield* Effect.updateService(run, Executor, (executor) => ({
          ...executor,
          notes: () => ["a node failed (cpu-0)"],
        }))
        const cold = made
        made = 0
        yield* run
        assert.strictEqual(made, failed)
        assert.isAbove(cold, 100)
        return told(yield* Journal)
      }).pipe(Effect.provide(on("here.db")))
      assert.isAbove(bucket.size, 2)
      assert.lengthOf(here, 2)
      assert.lengthOf(here[0]!.failures, failed)
      // This file leads to the program of local workers, which imports modules whose names are computed.
      const others = here.map(({ notes }) =>
        notes.filter((note) => !note.startsWith("not all that results of ")),
      )
      assert.deepStrictEqual(others, [["a node failed (cpu-0)"], []])
      assert.isAbove(here[1]!.dropped.length, 30)

      yield* Effect.gen(function* () {
        const journal = yield* Journal
        assert.deepStrictEqual(told(journal), here)
        made = 0
        yield* run
        assert.strictEqual(made, failed)
      }).pipe(Effect.provide(on("there.db")))
      // And back.
      const names = yield* Effect.provide(
        Journal.use((journal) => Effect.succeed(journal.runs().map(({ status }) => status))),
        on("here.db"),
      )
      assert.lengthOf(names, 3)
      assert.notInclude(names, "running")
    }),
  180_000,
)
