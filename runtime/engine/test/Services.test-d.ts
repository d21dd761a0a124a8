/** A run requires what the operators of its graph need. */
import type { Executor } from "@reelgraph/call"
import { Graph, Operator } from "@reelgraph/core"
import { Engine } from "@reelgraph/engine"
import type { BlobStore, Journal } from "@reelgraph/store"
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import { describe, expectTypeOf, it } from "vitest"

import { Num, num, version } from "./harness.ts"

class Adder extends Context.Service<Adder, { readonly add: (n: number) => number }>()("test/Adder") {}
class Log extends Context.Service<Log, {}>()("test/Log") {}

type Given = BlobStore | Executor | Journal

const run = ({ n }: { readonly n: number }) => Adder.use(({ add }) => Effect.succeed(num(add(n))))
const Needing = Operator.map("needing", { version, input: Num, output: Num, needs: [Adder], run })
const Layered = Operator.map("layered", {
  version,
  input: Num,
  output: Num,
  layer: Layer.effect(Adder, Effect.as(Log, { add: (n: number) => n })),
  needs: [Log],
  run,
})
const of = (graph: Graph.Graph) => Engine.run(graph, {})

describe("Engine.run", () => {
  it("requires the services that operators need, and not those that they bring", () => {
    const needing = Graph.make("a", { version }, (g) => ({ out: g.input("in", Num).pipe(Needing()) }))
    const layered = Graph.make("a", { version }, (g) => ({ out: g.input("in", Num).pipe(Layered()) }))
    expectTypeOf<Effect.Services<ReturnType<typeof Engine.run<typeof needing>>>>().toEqualTypeOf<
      Given | Adder
    >()
    expectTypeOf<Effect.Services<ReturnType<typeof Engine.run<typeof layered>>>>().toEqualTypeOf<
      Given | Log
    >()
  })
  it("requires nothing of a graph whose types are erased: that is checked when it runs", () => {
    expectTypeOf<Effect.Services<ReturnType<typeof of>>>().toEqualTypeOf<Given>()
  })
})
