import { Drop, drop, Edge, Graph, keep, Node, Operator, Port, Tensor } from "@reelgraph/core"
import type { Decision } from "@reelgraph/core"
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Schema from "effect/Schema"
import { describe, expectTypeOf, it } from "vitest"

const Clip = Port.make("Clip", {
  record: Schema.Struct({ id: Schema.String, score: Schema.optionalKey(Schema.Finite) }),
  tensors: { video: Tensor.make({ dtype: "u8", shape: ["T", 3, 720, 1280], space: "pixels", fps: 24 }) },
})
type Clip = { readonly id: string; readonly score?: number }

describe("ports", () => {
  it("know their record, and their tensors literally", () => {
    expectTypeOf<Port.RecordOf<typeof Clip>>().toEqualTypeOf<Clip>()
    expectTypeOf(Clip.tensors.video.shape).toEqualTypeOf<readonly ["T", 3, 720, 1280]>()
    expectTypeOf(Clip.name).toEqualTypeOf<"Clip">()
  })
  it("show themselves", () => {
    expectTypeOf<Port.Show<typeof Clip>>().toEqualTypeOf<"Clip (u8 [T, 3, 720, 1280] in pixels at 24 fps)">()
    expectTypeOf<Tensor.Show<{ dtype: "f32"; shape: [] }>>().toEqualTypeOf<"f32 []">()
  })
  it("connect when records and tensors fit", () => {
    expectTypeOf<Port.Accepts<"a", typeof Clip, "b", typeof Clip>>().toBeUnknown()
    const Optional = Port.make("Optional", {
      record: Schema.Struct({ id: Schema.String, note: Schema.optionalKey(Schema.String) }),
    })
    expectTypeOf<Port.Accepts<"a", typeof Clip, "b", typeof Optional>>().toBeUnknown()
    expectTypeOf<
      Port.Accepts<"a", typeof Optional, "b", typeof Clip>
    >().toEqualTypeOf<"edge a -> b: b takes Clip (u8 [T, 3, 720, 1280] in pixels at 24 fps), but this edge carries Optional; tensor video is missing">()
  })
})

describe("tensors", () => {
  type Given = { dtype: "u8"; shape: ["T", 3, 720]; space: "pixels"; fps: 24; range: "full" }
  it("fit when literals agree and symbols stand for anything", () => {
    expectTypeOf<Tensor.Fits<Given, { dtype: "u8"; shape: ["N", "C", "H"] }>>().toEqualTypeOf<true>()
    expectTypeOf<Tensor.Fits<Given, { dtype: "u8"; shape: [8, 3, 720] }>>().toEqualTypeOf<true>()
  })
  it("name every mismatch", () => {
    expectTypeOf<Tensor.Mismatch<Given, Given>>().toBeNever()
    expectTypeOf<
      Tensor.Mismatch<Given, { dtype: "f32"; shape: [3, 720]; space: "vae"; fps: 30; range: "limited" }>
    >().toEqualTypeOf<"dtype" | "shape" | "space" | "frame rate" | "range">()
    expectTypeOf<Tensor.Mismatch<{ dtype: "u8"; shape: [1] }, Given>>().toEqualTypeOf<
      "shape" | "space" | "frame rate" | "range"
    >()
  })
})

describe("operators", () => {
  const version = "1.0.0"
  const run = () => Effect.succeed(keep)
  it("need params unless all have defaults", () => {
    const bare = Operator.filter("bare", { version, input: Clip, run })
    expectTypeOf(bare).parameters.toEqualTypeOf<[params?: { readonly [param: string]: never }]>()
    const lax = Operator.filter("lax", {
      version,
      input: Clip,
      params: Schema.Struct({ min: Schema.Finite.pipe(Schema.withDecodingDefaultKey(Effect.succeed(0))) }),
      run: (clip, params, call) => {
        expectTypeOf(clip).toEqualTypeOf<Clip>()
        expectTypeOf(params).toEqualTypeOf<{ readonly min: number }>()
        expectTypeOf(call.attempt).toEqualTypeOf<number>()
        return run()
      },
    })
    expectTypeOf(lax).parameters.toEqualTypeOf<[params?: { readonly min?: number }]>()
    const strict = Operator.filter("strict", {
      version,
      input: Clip,
      params: Schema.Struct({ min: Schema.Finite }),
      run,
    })
    expectTypeOf(strict).parameters.toEqualTypeOf<[params: { readonly min: number }]>()
  })
  it("are erased to Operator.Any, their nodes to Node.Any, edges to Edge.Any", () => {
    const side = Operator.map("side", {
      version,
      input: Clip,
      output: Clip,
      sides: { other: Operator.one(Clip) },
      run: (clip) => Effect.succeed(clip),
    })
    expectTypeOf(side).toExtend<Operator.Any>()
    expectTypeOf(side()).toExtend<Node.Any>()
    expectTypeOf(side().as("x").id).toEqualTypeOf<"x">()
    expectTypeOf<Edge.Edge<typeof Clip, "x">>().toExtend<Edge.Any>()
    expectTypeOf<Graph.Graph<"a", "b">>().toExtend<Graph.Graph>()
  })
  class Meter extends Context.Service<Meter, { readonly read: Effect.Effect<number> }>()("test/Meter") {}
  class Lamp extends Context.Service<Lamp, {}>()("test/Lamp") {}
  it("need what is in needs, and what their layer gives no more", () => {
    const bare = Operator.filter("bare", { version, input: Clip, run })
    expectTypeOf(bare).toEqualTypeOf<
      Operator.Operator<"bare", typeof Clip, Node.Same, Schema.Struct<{}>, {}>
    >()
    const metered = Operator.filter("metered", {
      version,
      input: Clip,
      needs: [Meter],
      run: () => Effect.as(Meter, keep),
    })
    const layered = Operator.filter("layered", {
      version,
      input: Clip,
      layer: Layer.effect(Meter, Effect.as(Lamp, { read: Effect.succeed(1) })),
      needs: [Lamp],
      run: () => Effect.as(Meter, keep),
    })
    expectTypeOf(metered()).toEqualTypeOf<Node.Node<"metered", typeof Clip, Node.Same, {}, Meter>>()
    expectTypeOf(layered().as("x")).toEqualTypeOf<Node.Node<"x", typeof Clip, Node.Same, {}, Lamp>>()
    const graph = Graph.make("both", { version }, (g) => ({
      out: g.input("clips", Clip).pipe(metered(), layered()),
    }))
    expectTypeOf(graph).toEqualTypeOf<Graph.Graph<"both", "out", Meter | Lamp>>()
    expectTypeOf(graph).toExtend<Graph.Graph>()
    expectTypeOf(graph).not.toExtend<Graph.Graph<"both", "out", Meter>>()
    expectTypeOf<Graph.Needs<typeof graph>>().toEqualTypeOf<Meter | Lamp>()
  })
  it("are erased when an effect of any services is given", () => {
    const any = Operator.filter("any", {
      version,
      input: Clip,
      run: (): Effect.Effect<Decision, never, any> => run(),
    })
    expectTypeOf(any()).toEqualTypeOf<Node.Node<"any", typeof Clip, Node.Same, {}>>()
  })
  it("have layers replaced by others that give as much", () => {
    const graph = Graph.make("bare", { version }, (g) => ({ out: g.input("clips", Clip) }))
    const real = Layer.succeed(Meter, { read: Effect.succeed(1) })
    expectTypeOf(Graph.replaceLayer(graph, real, real)).toEqualTypeOf<typeof graph>()
    // @ts-expect-error -- a lamp is no meter
    Graph.replaceLayer(graph, real, Layer.succeed(Lamp, {}))
  })
  it("decide with keep or a drop", () => {
    expectTypeOf<Decision>().toEqualTypeOf<"keep" | Drop>()
    expectTypeOf(drop("dark")).toEqualTypeOf<Drop>()
  })
})
