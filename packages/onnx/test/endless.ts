/**
 * A process with a model whose run does not end: days of matrix products. Its argument says what happens to the run,
 * `interrupt` or `timeout`; it writes a line on stdout for each state it comes to, and lives until it is killed.
 */
import { Effect, Fiber } from "effect"

import * as Ops from "../src/Ops.ts"
import * as Onnx from "../src/Onnx.ts"
import * as Session from "../src/Session.ts"
import * as Tensor from "../src/Tensor.ts"
import * as TensorGraph from "../src/TensorGraph.ts"

/** 2 x 2000 x 4096^3 operations for a large input, nothing for a small one. */
const model = Onnx.model(
  TensorGraph.make("endless", { x: TensorGraph.spec("f32", ["N", "N"]) }, ({ x }) => {
    let y = x
    for (let i = 0; i < 2000; i++) y = Ops.matmul(y, x)
    return { y }
  }),
)
const open = () => Session.open(model, { provider: "cpu" })
const large = () => ({ x: Tensor.zeros("f32", [4096, 4096]) })
const small = { x: Tensor.f32([1, 1], [1]) }

const report = (line: string) => Effect.sync(() => void process.stdout.write(`${line}\n`))

/** Until the thread of the model has computed: this one does nothing meanwhile but look. */
const computing = Effect.gen(function* () {
  const begun = process.cpuUsage()
  while (process.cpuUsage(begun).user < 300_000) yield* Effect.sleep("5 millis")
})

type Endless = Effect.Success<ReturnType<typeof open>>

const interrupted = (session: Endless) =>
  Effect.gen(function* () {
    const run = yield* Effect.forkChild(session.run(large()))
    yield* computing
    yield* report(run.pollUnsafe() === undefined ? "running" : "ended")
    yield* Fiber.interrupt(run)
    yield* report("interrupted")
  })

const timedOut = (session: Endless) =>
  Effect.gen(function* () {
    const failure = yield* Effect.flip(session.run(large(), { timeout: "100 millis" }))
    yield* report(failure._tag)
  })

const program = Effect.gen(function* () {
  const session = yield* open()
  yield* process.argv[2] === "timeout" ? timedOut(session) : interrupted(session)
  const { y } = yield* session.run(small)
  yield* report(`goes on: ${y.data[0]}`)
  yield* Effect.never
}).pipe(Effect.scoped, Effect.provide(Session.layer()))

void Effect.runPromise(program)
