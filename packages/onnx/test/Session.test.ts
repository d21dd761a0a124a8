import { spawn, spawnSync } from "node:child_process"
import fs from "node:fs"
import os from "node:os"
import { join } from "node:path"
import { createInterface } from "node:readline"
import { fileURLToPath } from "node:url"
import type { Worker } from "node:worker_threads"

import { assert, describe, it } from "@effect/vitest"
import { Effect, Fiber } from "effect"

import * as Onnx from "../src/Onnx.ts"
import * as Ops from "../src/Ops.ts"
import * as Session from "../src/Session.ts"
import { ort } from "./check.ts"
import { assertDisjoint } from "../src/internal/trainingState.ts"
import * as Tensor from "../src/Tensor.ts"
import * as TensorGraph from "../src/TensorGraph.ts"

const scaled = (k: number) =>
  Onnx.model(
    TensorGraph.make("scaled", { x: TensorGraph.spec("f32", ["B", 3]) }, ({ x }) => ({ y: Ops.mul(x, k) })),
  )

/** About a second of matrix products. */
const slow = () =>
  Onnx.model(
    TensorGraph.make("slow", { x: TensorGraph.spec("f32", [512, 512]) }, ({ x }) => {
      let y = x
      for (let i = 0; i < 80; i++) y = Ops.matmul(y, x)
      return { y: Ops.reduceSum(y) }
    }),
  )

const x = Tensor.f32([1, 3], [1, 2, 3])
const big = () => Tensor.zeros("f32", [512, 512])

const run = <A, E>(
  effect: Effect.Effect<A, E, Session.Sessions | import("effect").Scope.Scope>,
  options?: Session.LayerOptions,
) => effect.pipe(Effect.scoped, Effect.provide(Session.layer(options)))

const cpu = { provider: "cpu" } as const

/** The first lines of a process whose model runs without end, which is killed then. */
const endless = (what: "interrupt" | "timeout", lines: number) =>
  Effect.callback<ReadonlyArray<string>>((resume) => {
    const program = fileURLToPath(new URL("./endless.ts", import.meta.url))
    const child = spawn(process.execPath, [program, what], { stdio: ["ignore", "pipe", "inherit"] })
    const found: Array<string> = []
    createInterface(child.stdout).on("line", (line) => {
      if (found.push(line) === lines) child.kill("SIGKILL")
    })
    child.once("close", () => resume(Effect.succeed(found)))
    return Effect.sync(() => void child.kill("SIGKILL"))
  })

describe("Session", () => {
  it.live("runs a model on the main thread's behalf, again and again", () =>
    run(
      Effect.gen(function* () {
        const session = yield* Session.open(scaled(2), cpu)
        for (const factor of [1, 10]) {
          const feeds = { x: Tensor.f32([1, 3], [factor, 2 * factor, 3 * factor]) }
          const { y } = yield* session.run(feeds)
          assert.deepStrictEqual([...y.data], [2 * factor, 4 * factor, 6 * factor])
          assert.deepStrictEqual(y.shape, [1, 3])
          assert.strictEqual(feeds.x.data.length, 3)
        }
        assert.deepStrictEqual(session.inputs, [{ name: "x", dtype: "f32", shape: ["B", 3] }])
      }),
    ),
  )

  it.live("every element type crosses the thread, f16 and bool as their bits", () =>
    run(
      Effect.gen(function* () {
        const graph = TensorGraph.make(
          "types",
          {
            f16: TensorGraph.spec("f16", [2]),
            bool: TensorGraph.spec("bool", [2]),
            i64: TensorGraph.spec("i64", [2]),
            u8: TensorGraph.spec("u8", [2]),
            f64: TensorGraph.spec("f64", []),
          },
          ({ bool, f16, f64, i64, u8 }) => ({
            h: Ops.add(f16, f16),
            n: Ops.not(bool),
            i: Ops.add(i64, 1),
            u: Ops.cast(u8, "i32"),
            d: Ops.mul(f64, 3),
          }),
        )
        const session = yield* Session.open(Onnx.model(graph), cpu)
        const { d, h, i, n, u } = yield* session.run({
          f16: Tensor.make("f16", [2], Uint16Array.of(0x3c00, 0xc000)),
          bool: Tensor.make("bool", [2], Uint8Array.of(1, 0)),
          i64: Tensor.i64([2], [4, -1]),
          u8: Tensor.make("u8", [2], Uint8Array.of(255, 0)),
          f64: Tensor.make("f64", [], Float64Array.of(0.1)),
        })
        assert.deepStrictEqual(h.data, Uint16Array.of(0x4000, 0xc400))
        assert.deepStrictEqual(n.data, Uint8Array.of(0, 1))
        assert.deepStrictEqual(i.data, BigInt64Array.of(5n, 0n))
        assert.deepStrictEqual(u.data, Int32Array.of(255, 0))
        assert.strictEqual(d.data[0], 0.1 * 3)
      }),
    ),
  )

  it.live("a provider that is not here is a typed error that names what is", () =>
    run(
      Effect.gen(function* () {
        const failure = yield* Effect.flip(Session.open(scaled(2), { provider: "cuda" }))
        assert.strictEqual(failure._tag, "ProviderMissing")
        assert.include(failure.message, "cannot run on cuda")
        assert.include(failure._tag === "ProviderMissing" ? failure.available : [], "cpu")
        yield* Session.open(scaled(2), cpu)
      }),
    ),
  )

  it.live("a model that is none is told from a missing provider", () =>
    run(
      Effect.gen(function* () {
        const broken = Onnx.fromBytes("broken", Uint8Array.of(1, 2, 3))
        for (const provider of ["cpu", "cuda"] as const)
          assert.strictEqual((yield* Effect.flip(Session.open(broken, { provider })))._tag, "ModelInvalid")
      }),
    ),
  )

  it.live("feeds that do not fit are refused by name", () =>
    run(
      Effect.gen(function* () {
        const session = (yield* Session.open(scaled(2), cpu)) as unknown as Session.Session
        const messages = yield* Effect.forEach(
          [{}, { x: Tensor.f32([3], [1, 2, 3]) }, { x: Tensor.i64([1, 3], [1, 2, 3]) }, { x, z: x }],
          (feeds) => Effect.map(Effect.flip(session.run(feeds)), ({ message }) => message),
        )
        assert.deepStrictEqual(messages, [
          "input x of scaled is missing",
          "input x of scaled is [3], the model takes [B,3]",
          "input x of scaled is i64, the model takes f32",
          "input z of scaled is no input; the model takes x",
        ])
      }),
    ),
  )

  it.live("buffers are handed over when that is asked for", () =>
    run(
      Effect.gen(function* () {
        const session = yield* Session.open(scaled(2), cpu)
        const mine = Tensor.f32([1, 3], [1, 2, 3])
        const { y } = yield* session.run({ x: mine }, { transfer: true })
        assert.deepStrictEqual([...y.data], [2, 4, 6])
        assert.strictEqual(mine.data.length, 0)
      }),
    ),
  )

  // Neither run would end: what comes after it does not wait for it, however fast or busy the machine is.
  it.live("the main thread stays free while a model runs, and an interruption does not wait for it", () =>
    Effect.gen(function* () {
      assert.deepStrictEqual(yield* endless("interrupt", 3), ["running", "interrupted", "goes on: 1"])
    }),
  )

  it.live("a session goes on after a timeout, in another thread", () =>
    Effect.gen(function* () {
      assert.deepStrictEqual(yield* endless("timeout", 2), ["SessionTimeout", "goes on: 1"])
    }),
  )

  it("a program that ends after it interrupted a run ends without an abort of the runtime", () => {
    const of = (module: string) => JSON.stringify(new URL(`../src/${module}.ts`, import.meta.url).href)
    const program = `
      import { Effect, Fiber } from "effect"
      import * as Onnx from ${of("Onnx")}
      import * as Ops from ${of("Ops")}
      import * as Session from ${of("Session")}
      import * as Tensor from ${of("Tensor")}
      import * as TensorGraph from ${of("TensorGraph")}
      const model = Onnx.model(TensorGraph.make("slow", { x: TensorGraph.spec("f32", [512, 512]) }, ({ x }) => {
        let y = x
        for (let i = 0; i < 40; i++) y = Ops.matmul(y, x)
        return { y }
      }))
      const x = Tensor.zeros("f32", [512, 512])
      await Effect.runPromise(
        Effect.gen(function* () {
          const session = yield* Session.open(model, { provider: "cpu" })
          const run = yield* Effect.forkChild(session.run({ x }))
          const begun = process.cpuUsage()
          // The thread of the model computes: this one only looks.
          while (process.cpuUsage(begun).user < 20_000) yield* Effect.sleep("1 millis")
          yield* Fiber.interrupt(run)
        }).pipe(Effect.scoped, Effect.provide(Session.layer())),
      )
      process.exit(7)`
    const { signal, status, stderr } = spawnSync(process.execPath, ["--input-type=module", "-e", program], {
      encoding: "utf8",
      cwd: import.meta.dirname,
    })
    assert.deepStrictEqual({ signal, status, stderr }, { signal: null, status: 7, stderr: "" })
  }, 180_000)

  it.live("who waits for their turn is interrupted without harm to who runs", () =>
    run(
      Effect.gen(function* () {
        const session = yield* Session.open(slow(), cpu)
        // Each is started before the next line: the first has its turn, the second waits for it.
        const first = yield* Effect.forkChild(session.run({ x: big() }), { startImmediately: true })
        const second = yield* Effect.forkChild(session.run({ x: big() }), { startImmediately: true })
        yield* Fiber.interrupt(second)
        assert.strictEqual((yield* Fiber.join(first)).y.data[0], 0)
      }),
    ),
  )
})

describe("Sessions: the cache", () => {
  it.live("the same model with the same options is one session; the longest unused gives way", () =>
    run(
      Effect.gen(function* () {
        const used = (k: number) =>
          Effect.scoped(
            Effect.flatMap(Session.open(scaled(k), cpu), (session) =>
              Effect.map(session.run({ x }), ({ y }) => y.data[0]),
            ),
          )
        assert.deepStrictEqual(yield* Effect.forEach([1, 2, 3, 1, 4], used), [1, 2, 3, 1, 4])
        const held = yield* Session.open(scaled(5), cpu)
        yield* Session.open(scaled(5), cpu)
        yield* Session.open(scaled(6), cpu)
        const full = yield* Effect.flip(Session.open(scaled(7), cpu))
        assert.strictEqual(full._tag, "SessionsFull")
        assert.strictEqual((yield* held.run({ x })).y.data[0], 5)
      }),
      { capacity: 2 },
    ),
  )

  it.live("a session nobody uses is closed after the idle time and opens again", () =>
    run(
      Effect.gen(function* () {
        const once = Effect.scoped(
          Effect.flatMap(Session.open(scaled(2), cpu), (session) => session.run({ x })),
        )
        const threads: Array<Promise<void>> = []
        const watch = (thread: Worker) =>
          void threads.push(new Promise((resolve) => thread.once("exit", () => resolve())))
        process.on("worker", watch)
        yield* Effect.addFinalizer(() => Effect.sync(() => process.off("worker", watch)))
        yield* once
        // It is closed by itself: the thread that ran it ends.
        yield* Effect.promise(() => threads[0]!)
        assert.strictEqual((yield* once).y.data[0], 2)
        assert.strictEqual(threads.length, 2)
      }),
      { idle: "20 millis", capacity: 1 },
    ),
  )

  it.live("a file is opened by its digest, and refused when it is another", () =>
    run(
      Effect.gen(function* () {
        const folder = yield* Effect.acquireRelease(
          Effect.sync(() => fs.mkdtempSync(join(os.tmpdir(), "reelgraph-test-"))),
          (path) => Effect.sync(() => fs.rmSync(path, { recursive: true, force: true })),
        )
        const model = scaled(4)
        const path = join(folder, "scaled.onnx")
        fs.writeFileSync(path, model.bytes)
        const file = yield* Session.fromFile(path, { name: "scaled", expected: model.digest })
        const session: Session.Session = yield* Session.open(file, cpu)
        const { y } = yield* session.run({ x })
        assert.deepStrictEqual([...(y!.data as Float32Array)], [4, 8, 12])
        const other = yield* Effect.flip(Session.fromFile(path, { expected: "0".repeat(64) }))
        assert.include(other.message, "its sha256 is")
        assert.strictEqual((yield* Effect.flip(Session.fromFile(`${path}.no`)))._tag, "ModelFileUnreadable")
      }),
    ),
  )
})

describe("updated parameters are never written where they are read", () => {
  it("one buffer on both sides of a run is refused", () => {
    const one = new ort.Tensor("float32", new Float32Array(4), [4])
    const other = new ort.Tensor("float32", new Float32Array(4), [4])
    assertDisjoint({ "param/w": one }, { "next/param/w": other })
    assert.throws(() => assertDisjoint({ "param/w": one }, { "next/param/w": one }), /input param\/w/u)
    const view = new ort.Tensor("float32", one.data.subarray(0, 2), [2])
    assert.throws(() => assertDisjoint({ "param/w": one }, { "next/param/v": view }), /next\/param\/v/u)
  })
})
