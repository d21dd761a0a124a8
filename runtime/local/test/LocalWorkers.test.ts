import { spawn } from "node:child_process"
import fs from "node:fs"
import os from "node:os"
import { join } from "node:path"
import { fileURLToPath } from "node:url"

import { assert, describe, it } from "@effect/vitest"
import { Graph, Ledger } from "@reelgraph/core"
import { Executor, type Lane } from "@reelgraph/call"
import { Engine } from "@reelgraph/engine"
import { Journal, StoreFs } from "@reelgraph/store"
import * as Deferred from "effect/Deferred"
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import * as Layer from "effect/Layer"
import * as Stream from "effect/Stream"

import { LocalWorkers } from "../src/index.ts"
import { count, graphOf } from "./accumulating.ts"
import * as Ops from "./operators.ts"

const version = "1.0.0"
const { Num } = Ops

const temporary = Effect.acquireRelease(
  Effect.sync(() => fs.mkdtempSync(join(os.tmpdir(), "reelgraph-local-"))),
  (path) => Effect.sync(() => fs.rmSync(path, { recursive: true, force: true })),
)

const runtime = (store: string) =>
  Layer.mergeAll(StoreFs.layer(store, { durability: "none" }), LocalWorkers.layer({ store, cores: 2 }))

const go = (graph: Graph.Graph, numbers: ReadonlyArray<number>, options: Engine.Options = {}) =>
  Effect.gen(function* () {
    const report = yield* Engine.run(graph, { in: Stream.fromIterable(numbers.map((n) => ({ n }))) }, options)
    const journal = yield* Journal
    assert.deepStrictEqual(Ledger.imbalances(report.ledger), [])
    const { id } = journal.run(report.run)!
    return {
      report,
      numbers: journal
        .runItems(id, "out:out")
        .map((item) => JSON.parse(journal.item(item)!.record).n as number)
        .sort((a, b) => a - b),
      failures: journal.failures(id),
    }
  })

/** The same operator, called on the thread of the engine. */
const inline = (operator: any) => (params: unknown) => {
  const node = operator(params)
  const here = { ...operator, name: operator.name, worker: undefined }
  const place = (made: any): any => ({
    ...made,
    operator: here,
    with: (sides: any) => place(made.with(sides)),
  })
  return place(node)
}

const everything = (pick: (operator: any) => any) =>
  Graph.make("everything", { version }, (g) => {
    const items = g.input("in", Num)
    const odd = items.pipe(pick(Ops.Odd)())
    const sum = items.pipe(pick(Ops.Sum)())
    const one = g.input("one", Num)
    return {
      odd,
      sum,
      twice: odd.pipe(pick(Ops.Twice)()),
      squares: items.pipe(pick(Ops.Squares)()),
      draw: items.pipe(pick(Ops.Draw)()),
      add: items.pipe(pick(Ops.Add)({ by: 7 }).with({ more: odd, one })),
    } as any
  })

const alive = (pid: number): boolean => {
  try {
    process.kill(pid, 0)
    // A zombie that nobody has waited for yet is as good as gone.
    return process.platform !== "linux" || !fs.readFileSync(`/proc/${pid}/stat`, "utf8").includes(") Z ")
  } catch {
    return false
  }
}

/** Waits until something is true, for as long as the test may take. */
const until = (condition: () => boolean) =>
  Effect.gen(function* () {
    while (!condition()) yield* Effect.sleep(20)
  })

const linesOf = (file: string): ReadonlyArray<string> =>
  fs.existsSync(file) ? fs.readFileSync(file, "utf8").split("\n").filter(Boolean) : []

describe("LocalWorkers", { timeout: 180_000 }, () => {
  it.live("give what calls on the engine's thread give", () =>
    Effect.gen(function* () {
      const folder = yield* temporary
      const outputs = ["odd", "sum", "twice", "squares", "draw", "add"]
      const results = yield* Effect.forEach([(operator: any) => operator, inline], (pick, i) =>
        Effect.gen(function* () {
          const graph = everything(pick)
          const report = yield* Engine.run(
            graph,
            {
              in: Stream.fromIterable([1, 2, 3, 4, 5, 6, 7].map((n) => ({ n }))),
              one: Stream.make({ n: 1000 }),
            },
            { seed: 5 },
          )
          const journal = yield* Journal
          assert.deepStrictEqual(Ledger.imbalances(report.ledger), [])
          const { id } = journal.run(report.run)!
          const ledger = Object.fromEntries(
            Object.entries(report.ledger).map(([node, counts]) => [node, { ...counts, busyMs: 0 }]),
          )
          return [
            ledger,
            ...outputs.map((output) =>
              journal
                .runItems(id, `out:${output}`)
                .map((item) => journal.item(item)!.digest)
                .sort(),
            ),
          ]
        }).pipe(Effect.provide(runtime(join(folder, `${i}`)))),
      )
      assert.deepStrictEqual(results[0], results[1])
    }),
  )

  it.live("say when an operator is not exported, and work in the store they are given", () =>
    Effect.gen(function* () {
      const store = join(yield* temporary, "store")
      const graph = Graph.make("g", { version }, (g) => {
        const items = g.input("in", Num)
        return {
          out: items.pipe(Ops.hidden.Secret()),
          put: items.pipe(Ops.Put()),
          wrong: items.pipe(Ops.Wrong()),
        }
      })
      const run = yield* Effect.provide(go(graph, [1]), runtime(store))
      const secret = run.failures.find(({ node }) => node === "secret")!
      assert.strictEqual(secret.reason, "OperatorNotExported")
      assert.include(secret.detail, "does not export the operator secret@1.0.0; export it")
      assert.strictEqual(run.failures.find(({ node }) => node === "wrong")!.reason, "OutputInvalid")
      assert.strictEqual(run.report.outputs["put"], 1)
      assert.strictEqual(fs.readdirSync(join(store, "blobs")).length, 1)
    }),
  )

  it.live("survive operators that misbehave: calls are made again, recorded, and the run goes on", () =>
    Effect.gen(function* () {
      const folder = yield* temporary
      const log = (how: string) => join(folder, how)
      const expected = {
        abort: ["WorkerLost", "SIGABRT"],
        exit: ["WorkerLost", "exit code 7"],
        throw: ["Defect", "thrown"],
        hang: ["CallTimeout", "longer than 400 ms"],
        spin: ["CallTimeout", "longer than 400 ms"],
        reject: ["WorkerLost", "nobody listens"],
      } as const
      const hows = Object.keys(expected) as Array<keyof typeof expected>
      const graph = Graph.make("g", { version }, (g) => {
        const items = g.input("in", Num)
        return Object.fromEntries(
          hows.map((how) => [
            how,
            items.pipe(Ops.Misbehave({ how, at: 2, log: log(how) }).as(`does-${how}`) as any),
          ]),
        ) as any
      })
      const run = yield* Effect.provide(go(graph, [1, 2, 3]), runtime(join(folder, "store")))
      for (const how of hows) {
        const [reason, detail] = expected[how]
        const failures = run.failures.filter(({ node }) => node === `does-${how}`)
        assert.deepStrictEqual(
          failures.map((failure) => failure.reason),
          [reason],
        )
        assert.include(failures[0]!.detail, detail)
        const calls = linesOf(log(how)).filter((line) => line.startsWith("2 "))
        const { kept, retries } = run.report.ledger[`does-${how}`]!
        assert.deepStrictEqual([kept, retries], [2, how === "throw" ? 0 : 1])
        assert.strictEqual(calls.length, retries + 1)
        // A process that was lost or killed makes no second call.
        if (how !== "throw") assert.notStrictEqual(calls[0], calls[1])
      }
    }),
  )

  it.live("are killed when a run is interrupted, even when blocked", () =>
    Effect.gen(function* () {
      const folder = yield* temporary
      const log = join(folder, "log")
      const graph = Graph.make("g", { version }, (g) => ({
        out: g.input("in", Num).pipe(Ops.Spin({ log })),
      }))
      const layer = runtime(join(folder, "store"))
      const pids = yield* Effect.gen(function* () {
        const fiber = yield* Effect.forkChild(go(graph, [1, 2, 3]))
        yield* until(() => linesOf(log).length === 2)
        // Their calls never end: only killing them lets the run end.
        yield* Fiber.interrupt(fiber)
        const journal = yield* Journal
        assert.deepStrictEqual(
          journal.runs().map(({ status }) => status),
          ["interrupted"],
        )
        return linesOf(log).map(Number)
      }).pipe(Effect.provide(layer))
      assert.deepStrictEqual(
        pids.map((pid) => alive(pid)),
        [false, false],
      )
    }),
  )

  it.live("tell calls that go on to stop, even when they are busy, and begin no others", () =>
    Effect.gen(function* () {
      const folder = yield* temporary
      const log = join(folder, "log")
      const graph = Graph.make("g", { version }, (g) => ({
        out: g.input("in", Num).pipe(Ops.Endless({ log })),
      }))
      const stop = yield* Deferred.make<void>()
      const store = join(folder, "store")
      const workers = LocalWorkers.layer({
        store,
        cores: 2,
        environment: { [Ops.wordVariable]: "hello" },
        stopping: Deferred.await(stop),
      })
      const run = yield* Effect.gen(function* () {
        const fiber = yield* Effect.forkChild(go(graph, [1, 2, 3]))
        yield* until(() => linesOf(log).length === 2)
        assert.isTrue(yield* Deferred.succeed(stop, undefined))
        return yield* Fiber.join(fiber)
      }).pipe(Effect.provide(Layer.mergeAll(StoreFs.layer(store, { durability: "none" }), workers)))
      assert.deepStrictEqual(linesOf(log), ["begins hello", "begins hello"])
      assert.deepStrictEqual(
        run.failures.map(({ reason }) => reason),
        ["CallsStopped"],
      )
      assert.strictEqual(run.report.ledger["endless"]!.kept, 2)
    }),
  )

  it.live("do not outlive a driver that is killed, even when blocked", () =>
    Effect.gen(function* () {
      const folder = yield* temporary
      const log = join(folder, "log")
      const main = fileURLToPath(new URL("./spinning.ts", import.meta.url))
      const driver = yield* Effect.acquireRelease(
        Effect.sync(() => spawn(process.execPath, [main, join(folder, "store"), log], { stdio: "ignore" })),
        (child) => Effect.sync(() => child.kill("SIGKILL")),
      )
      yield* until(() => linesOf(log).length === 2)
      const pids = linesOf(log).map(Number)
      assert.deepStrictEqual(pids.map(alive), [true, true])
      driver.kill("SIGKILL")
      yield* until(() => !pids.some(alive))
    }),
  )

  it.live("report how far a call is, at most 5 times a second, and know it by the same key", () =>
    Effect.gen(function* () {
      const folder = yield* temporary
      const store = join(folder, "store")
      const enough = join(folder, "enough")
      const graph = Graph.make("g", { version }, (g) => {
        const items = g.input("in", Num)
        return {
          out: items.pipe(Ops.Flood({ until: enough })),
          key: items.pipe(Ops.Key()),
          here: items.pipe(inline(Ops.Key)({}).as("here")),
        } as any
      })
      let live: Engine.Live | undefined
      let received = 0
      const watched = { details: new Set<string>(), left: new Array<number>() }
      const counted = (lane: Lane): Lane => ({
        ...lane,
        run: (shard, options) =>
          lane.run(shard, {
            ...options,
            report: (progress) => {
              received++
              options.report(progress)
            },
          }),
      })
      const counting = Layer.effect(
        Executor,
        Effect.map(Executor, (executor) =>
          Executor.of({
            ...executor,
            lane: (node) => {
              const lane = executor.lane(node)
              return lane === undefined ? undefined : counted(lane)
            },
          }),
        ),
      ).pipe(Layer.provideMerge(runtime(store)))
      yield* Effect.gen(function* () {
        const flood = () => live?.nodes.find(({ id }) => id === "flood")?.underway ?? new Set()
        const watch = Effect.sync(() => {
          for (const { latest } of flood()) {
            watched.details.add(latest!.report.detail)
            watched.left.push(latest!.report.remainingMillis!)
          }
          if (watched.details.size >= 3 && !fs.existsSync(enough)) fs.writeFileSync(enough, "")
        })
        const begun = performance.now()
        yield* Effect.forkChild(Effect.forever(Effect.andThen(Effect.sleep(20), watch)))
        const run = yield* go(graph, [1], { observe: (begun) => void (live = begun) })
        const reports = run.numbers[0]!
        const seconds = (performance.now() - begun) / 1000
        assert.isAtLeast(received, 3)
        // The first at once, and the last after a pause.
        assert.isAtMost(received, 5 * seconds + 2)
        assert.isAbove(reports, 10 * received)
        assert.isAtMost(watched.details.size, received)
        assert.isTrue(watched.left.every((left, i) => left <= (watched.left[i - 1] ?? left)))
        assert.strictEqual(flood().size, 0)
        const journal = yield* Journal
        const keys = journal.dropped(journal.run(run.report.run)!.id).map(({ detail }) => detail)
        assert.strictEqual(keys.length, 2)
        assert.match(keys[0]!, /^[0-9a-f]{64}$/u)
        assert.strictEqual(keys[0], keys[1])
      }).pipe(Effect.provide(counting))
    }),
  )

  it.live("go on with unfinished work after kill -9, and never two at once", () =>
    Effect.gen(function* () {
      const folder = yield* temporary
      const [store, log] = [join(folder, "store"), join(folder, "log")]
      const start = Effect.acquireRelease(
        Effect.sync(() => {
          const main = fileURLToPath(new URL("./accumulating.ts", import.meta.url))
          return spawn(process.execPath, [main, store, log, folder], { stdio: "ignore" })
        }),
        (child) => Effect.sync(() => child.kill("SIGKILL")),
      )
      const here = (path: string) => Effect.provide(go(graphOf(log, folder), [3]), runtime(path))
      const open = (gate: string) => fs.writeFileSync(join(folder, gate), "")
      const steps = () => linesOf(log).filter((line) => !line.startsWith("begins"))
      const begins = () => linesOf(log).length - steps().length

      const first = yield* start
      yield* until(() => steps().length === count / 2)
      first.kill("SIGKILL")
      // The first one's worker may live on for a moment: the second waits for its end.
      const second = yield* start
      yield* until(() => begins() === 2)
      assert.strictEqual(steps().length, count / 2)

      const refused = yield* here(store)
      assert.deepStrictEqual(
        refused.failures.map(({ reason }) => reason),
        ["UnfinishedInUse"],
      )
      assert.match(refused.failures[0]!.detail, /in use by process \d+; wait until that run has ended/u)

      const ended = Effect.callback<number | null>((resume) => {
        second.once("exit", (code) => resume(Effect.succeed(code)))
      })
      open("half")
      open("end")
      assert.strictEqual(yield* ended, 0)
      assert.deepStrictEqual(fs.readdirSync(join(store, "unfinished")), [])
      // Each step was made once, half of them by a process that was killed.
      assert.deepStrictEqual(
        steps(),
        Array.from({ length: count }, (_, step) => String(step)),
      )

      const again = yield* here(store)
      assert.strictEqual(again.report.ledger["accumulate"]!.cached, 1)
      assert.strictEqual(begins(), 2)
      const anew = yield* here(join(folder, "another"))
      assert.deepStrictEqual(again.numbers, anew.numbers)
    }),
  )

  it.live(
    "show each call its GPUs alone: several share one as far as its memory goes",
    () =>
      Effect.gen(function* () {
        const folder = yield* temporary
        const store = join(folder, "store")
        const graph = Graph.make("looks", { version }, (g) => {
          const nums = g.input("in", Num)
          return {
            // The first on a device waits for a second: two are there at once, however slowly workers start.
            gpu: nums.pipe(Ops.Look({ folder, together: 2 }).as("gpu")),
            cpu: nums.pipe(Ops.Look({ folder, together: 1 }).as("cpu")),
          }
        })
        const workers = LocalWorkers.layer({
          store,
          cores: 16,
          gpus: { devices: ["4", "7"], memoryGiB: 80 },
          resources: (node) => (node === "gpu" ? { cores: 1, gpu: { count: 1, memoryGiB: 30 } } : undefined),
        })
        const seen = yield* Effect.gen(function* () {
          const nums = Array.from({ length: 24 }, (_, n) => ({ n }))
          const report = yield* Engine.run(graph, { in: Stream.fromIterable(nums) })
          const journal = yield* Journal
          const { id } = journal.run(report.run)!
          const of = (output: string) =>
            journal
              .runItems(id, `out:${output}`)
              .map((item) => JSON.parse(journal.item(item)!.record) as typeof Ops.Seen.record.Type)
          return { gpu: of("gpu"), cpu: of("cpu") }
        }).pipe(
          Effect.provide(Layer.mergeAll(StoreFs.layer(store, { durability: "none" }), workers)),
          Effect.scoped,
        )
        assert.deepStrictEqual([...new Set(seen.cpu.map(({ devices }) => devices))], [""])
        assert.deepStrictEqual(new Set(seen.gpu.map(({ devices }) => devices)), new Set(["4", "7"]))
        for (const device of ["4", "7"]) {
          const calls = seen.gpu.filter(({ devices }) => devices === device)
          const most = Math.max(
            ...calls.map(
              ({ startedMs }) =>
                calls.filter((other) => other.startedMs <= startedMs && startedMs < other.endedMs).length,
            ),
          )
          // 30 and 30 of 80.
          assert.strictEqual(most, 2)
        }
      }),
    180_000,
  )
})
