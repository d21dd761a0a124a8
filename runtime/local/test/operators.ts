/** Operators that run in worker processes, well-behaved and not. */
import { spawn } from "node:child_process"
import { appendFileSync, existsSync, readdirSync, readFileSync, writeFileSync } from "node:fs"
import { join } from "node:path"

import { drop, keep, Operator, Port } from "@reelgraph/core"
import { BlobStore, Unfinished } from "@reelgraph/store"
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Schema from "effect/Schema"

const version = "1.0.0"
const worker = import.meta.url

export const Num = Port.make("Num", { record: Schema.Struct({ n: Schema.Int }) })

export const Add = Operator.map("add", {
  version,
  worker,
  input: Num,
  output: Num,
  params: Schema.Struct({ by: Schema.Int }),
  sides: { more: Operator.all(Num), one: Operator.one(Num) },
  run: ({ n }, { by }, { sides }) =>
    Effect.succeed({ n: n + by + sides.more.reduce((sum, other) => sum + other.n, 0) * 100 + sides.one.n }),
})

export const Seen = Port.make("Seen", {
  record: Schema.Struct({
    n: Schema.Int,
    devices: Schema.NullOr(Schema.String),
    pid: Schema.Int,
    startedMs: Schema.Finite,
    endedMs: Schema.Finite,
  }),
})

/** Gives which GPUs its process is shown, when so many calls with the same ones have begun. */
export const Look = Operator.map("look", {
  version,
  worker,
  input: Num,
  output: Seen,
  params: Schema.Struct({ folder: Schema.String, together: Schema.Int }),
  run: ({ n }, { folder, together }) =>
    Effect.gen(function* () {
      const startedMs = Date.now()
      // oxlint-disable-next-line node/no-process-env -- a test looks at what its process is told
      const devices = process.env["CUDA_VISIBLE_DEVICES"] ?? null
      const begun = join(folder, `begun-${devices}`)
      appendFileSync(begun, "x")
      while (readFileSync(begun, "utf8").length < together) yield* Effect.sleep(5)
      // Longer than a step of the clock: that a call overlaps another is seen by their times.
      yield* Effect.sleep(10)
      return { n, devices, pid: process.pid, startedMs, endedMs: Date.now() }
    }),
})

export const Odd = Operator.filter("odd", {
  version,
  worker,
  input: Num,
  run: ({ n }) => Effect.succeed(n % 2 === 1 ? keep : drop("even", `${n} is even`)),
})

export const Twice = Operator.flatMap("twice", {
  version,
  worker,
  input: Num,
  output: Num,
  run: ({ n }) => Effect.succeed([{ n }, { n: -n }]),
})

export const Squares = Operator.batch("squares", {
  version,
  worker,
  input: Num,
  output: Num,
  size: 3,
  run: (records) => Effect.succeed(records.map(({ n }) => (n === 5 ? drop("five") : { n: n * n }))),
})

export const Sum = Operator.collect("sum", {
  version,
  worker,
  input: Num,
  output: Num,
  run: (records) =>
    Effect.succeed([
      Operator.emit(
        { n: records.reduce((sum, { n }) => sum + n, 0) },
        records.map((_, at) => at),
      ),
      Operator.pass(0),
      Operator.dropAt(1, drop("second")),
    ]),
})

export const Draw = Operator.map("draw", {
  version,
  worker,
  input: Num,
  output: Num,
  seeded: true,
  run: (_, __, { random }) => Effect.succeed({ n: random.k0 }),
})

/** Not what a filter may give. */
export const Wrong = Operator.map("wrong", {
  version,
  worker,
  input: Num,
  output: Num,
  run: () => Effect.succeed({ n: 0.5 }),
})

const log = (file: string, text: string) => Effect.sync(() => appendFileSync(file, `${text}\n`))

/** Does what its params say to the item numbered `at`; notes every call, with its process, in `log`. */
export const Misbehave = Operator.map("misbehave", {
  version,
  worker,
  input: Num,
  output: Num,
  timeoutMs: 400,
  retries: 1,
  params: Schema.Struct({
    how: Schema.Literals(["abort", "exit", "throw", "hang", "spin", "reject"]),
    at: Schema.Int,
    log: Schema.String,
  }),
  run: (record, params) =>
    Effect.gen(function* () {
      yield* log(params.log, `${record.n} ${process.pid}`)
      if (record.n !== params.at) return record
      switch (params.how) {
        case "abort":
          process.stderr.write("about to abort\n")
          return process.abort()
        case "exit":
          return process.exit(7)
        case "throw":
          throw new Error("thrown")
        case "hang":
          return yield* Effect.never
        case "spin":
          for (;;);
        case "reject":
          void Promise.reject(new Error("nobody listens"))
          return yield* Effect.never
      }
    }),
})

/** Blocks its process, whatever is asked of it. */
export const Spin = Operator.map("spin", {
  version,
  worker,
  input: Num,
  output: Num,
  params: Schema.Struct({ log: Schema.String }),
  run: (_, params) =>
    Effect.andThen(
      log(params.log, `${process.pid}`),
      Effect.sync((): never => {
        for (;;);
      }),
    ),
})

export const Put = Operator.map("put", {
  version,
  worker,
  input: Num,
  output: Port.make("Stored", { record: Schema.Struct({ sha256: Schema.String }) }),
  needs: [BlobStore],
  run: ({ n }) =>
    Effect.gen(function* () {
      const blobs = yield* BlobStore
      const { sha256 } = yield* blobs.putBytes(new Uint8Array([n]), "application/octet-stream")
      return { sha256 }
    }),
})

/** Reports as often as it can until a file is there, and gives how often that was. */
export const Flood = Operator.map("flood", {
  version,
  worker,
  input: Num,
  output: Num,
  params: Schema.Struct({ until: Schema.String }),
  run: (_, { until }, { progress }) =>
    Effect.gen(function* () {
      let n = 0
      while (n % 1000 !== 0 || !existsSync(until))
        yield* progress({ done: ++n, total: 0, detail: `report ${n}`, remainingMillis: 1e9 - n })
      return { n }
    }),
})

/** Variable of which {@link Endless} says what it has. */
export const wordVariable = "REELGRAPH_TEST_WORD"

/** Works without a pause until it is told to stop. Notes that it begins, with what it has of a variable. */
export const Endless = Operator.map("endless", {
  version,
  worker,
  input: Num,
  output: Num,
  params: Schema.Struct({ log: Schema.String }),
  run: (_, { log: file }, { stopping }) =>
    Effect.gen(function* () {
      // oxlint-disable-next-line node/no-process-env -- a test looks at what a worker process is given
      yield* log(file, `begins ${process.env[wordVariable]}`)
      let n = 1
      while (!(yield* stopping)) {
        const end = performance.now() + 10
        while (performance.now() < end);
        n++
      }
      return { n }
    }),
})

/** Gives the key of its call as a drop. */
export const Key = Operator.filter("key", {
  version,
  worker,
  input: Num,
  run: (_, __, { key }) => Effect.succeed(drop("key", key)),
})

/** Waits for a file without giving its thread back. */
const blockUntil = (path: string) => {
  const never = new Int32Array(new SharedArrayBuffer(4))
  while (!existsSync(path)) Atomics.wait(never, 0, 0, 10)
}

/**
 * Long work, kept file by file: `count` squares, and their sum. Its thread hears nothing meanwhile. Goes on beyond the
 * half, and ends, when there are files of that name in `gates`.
 */
export const Accumulate = Operator.map("accumulate", {
  version,
  worker,
  input: Num,
  output: Num,
  retries: 0,
  params: Schema.Struct({ count: Schema.Int, log: Schema.String, gates: Schema.String }),
  needs: [Unfinished],
  run: ({ n }, { count, gates, log: file }, { key }) =>
    Effect.gen(function* () {
      const unfinished = yield* Unfinished
      const folder = yield* unfinished.use(key)
      yield* log(file, `begins ${process.pid}`)
      for (let done = readdirSync(folder).length; done < count; done++) {
        if (done === count / 2) blockUntil(join(gates, "half"))
        writeFileSync(join(folder, String(done)), String((n + done) ** 2))
        yield* log(file, String(done))
      }
      blockUntil(join(gates, "end"))
      const squares = readdirSync(folder).map((name) => Number(readFileSync(join(folder, name), "utf8")))
      yield* unfinished.discard(key)
      return { n: squares.reduce((sum, square) => sum + square, 0) }
    }),
})

/** What a lamp of a process does goes into the file of this variable of its environment. */
export const lampLog = "REELGRAPH_TEST_LAMP"

// oxlint-disable-next-line node/no-process-env -- a test's workers are told where to write
const lampNote = (what: string) => log(process.env[lampLog]!, `${what} ${process.pid}`)

export class Lamp extends Context.Service<Lamp, { readonly lit: boolean }>()("test/Lamp") {
  static readonly layer = Layer.effect(
    Lamp,
    Effect.acquireRelease(Effect.as(lampNote("lit"), { lit: true }), () => lampNote("out")),
  )
}

/** Two operators that bring one lamp. */
export const Shine = Operator.filter("shine", {
  version,
  worker,
  input: Num,
  layer: Lamp.layer,
  run: () => Lamp.use(({ lit }) => Effect.succeed(lit ? keep : drop("dark"))),
})
export const Glow = Operator.filter("glow", {
  version,
  worker,
  input: Num,
  layer: Layer.merge(Lamp.layer, Layer.empty),
  run: ({ n }) => Lamp.use(() => Effect.succeed(n < 0 ? drop("dark") : keep)),
})

/** Never gives way once it is asked to close its lamp. */
export const Stuck = Operator.filter("stuck", {
  version,
  worker,
  input: Num,
  layer: Layer.effect(
    Lamp,
    Effect.acquireRelease(Effect.as(lampNote("lit"), { lit: true }), () =>
      Effect.andThen(lampNote("stuck"), Effect.never),
    ),
  ),
  run: () => Lamp.use(() => Effect.succeed(keep)),
})

/** Its lamp cannot be had. */
export const Broken = Operator.filter("broken", {
  version,
  worker,
  input: Num,
  layer: Layer.effect(Lamp, Effect.fail(new Error("no bulb"))),
  run: () => Lamp.use(() => Effect.succeed(keep)),
})

/** Needs what no worker has. */
export const Dark = Operator.filter("dark", {
  version,
  worker,
  input: Num,
  needs: [Lamp],
  run: () => Lamp.use(() => Effect.succeed(keep)),
})

export const hidden = {
  Secret: Operator.map("secret", {
    version,
    worker,
    input: Num,
    output: Num,
    run: (record) => Effect.succeed(record),
  }),
}

/** Begins processes that sleep, in its group and out of it, with its pipes and without; then ends as it is told. */
export const Leave = Operator.map("leave", {
  version,
  worker,
  input: Num,
  output: Num,
  params: Schema.Struct({ log: Schema.String, how: Schema.Literals(["end", "hang", "exit"]) }),
  retries: 0,
  timeoutMs: 3000,
  run: ({ n }, { how, log }) =>
    Effect.gen(function* () {
      for (const detached of [false, true])
        for (const stdio of ["ignore", "inherit"] as const) {
          const child = spawn("sleep", ["1000"], { detached, stdio })
          child.unref()
          appendFileSync(log, `${detached ? "detached" : "attached"} ${child.pid}\n`)
        }
      appendFileSync(log, `worker ${process.pid}\n`)
      if (how === "exit") process.exit(7)
      if (how === "hang") yield* Effect.never
      return { n }
    }),
})

/** Gives the names of the variables that its process has been given. */
export const Names = Operator.flatMap("names", {
  version,
  worker,
  input: Num,
  output: Port.make("Name", { record: Schema.Struct({ name: Schema.String }) }),
  // oxlint-disable-next-line node/no-process-env -- a test looks at what its process is told
  run: () => Effect.sync(() => Object.keys(process.env).map((name) => ({ name }))),
})
