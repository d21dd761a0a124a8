import { assert, describe, it } from "@effect/vitest"
import { Canonical, drop, Edge, Graph, GraphError, Node, Operator, Params } from "@reelgraph/core"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Schema from "effect/Schema"

import {
  Caption,
  Captioner,
  captionerOf,
  Clip,
  Dit,
  Embed,
  Embedding,
  Encode,
  Short,
  TinyLatent,
  Train,
} from "./wrong/ports.ts"

const version = "1.0.0"

/** The error that a function throws. */
const thrown = <E extends Error>(kind: new (...args: any) => E, f: () => unknown): E => {
  try {
    f()
  } catch (error) {
    assert.instanceOf(error, kind)
    return error
  }
  return assert.fail("nothing was thrown")
}

const assertReadable = (message: string, expected: string) => {
  assert.strictEqual(message, expected)
  assert.isAtMost(message.split("\n").length, 2)
  assert.isBelow(message.length, 220)
}

const two = Graph.make("two", { version, description: "short clips as latents" }, (g) => ({
  latents: g.input("clips", Clip).pipe(Short(), Encode()),
}))

describe("Graph", () => {
  it("holds its nodes in an order in which each comes after those that feed it", () => {
    assert.strictEqual(two.description, "short clips as latents")
    assert.deepStrictEqual(
      two.nodes.map(({ id, input, sides }) => [id, input, sides]),
      [
        ["short", "clips", {}],
        ["encode", "short", {}],
      ],
    )
    assert.deepStrictEqual(two.outputs, { latents: "encode" })
    assert.strictEqual(two.nodes[0]!.output, Clip)
    assert.strictEqual(two.nodes[1]!.output, TinyLatent)
  })

  it("keeps sides, whichever of `as` and `with` comes first", () => {
    const graph = Graph.make("sides", { version }, (g) => {
      const text = g.input("text", Embedding)
      const latents = g.input("latents", TinyLatent)
      return {
        a: latents.pipe(Train({ steps: 1 }).with({ text }).as("a")),
        b: latents.pipe(Train({ steps: 1 }).as("b").with({ text })),
      }
    })
    assert.deepStrictEqual(
      graph.nodes.map(({ id, sides }) => [id, sides]),
      [
        ["a", { text: "text" }],
        ["b", { text: "text" }],
      ],
    )
  })

  it("one node value may be wired in many graphs", () => {
    const encode = Encode()
    const make = () => Graph.make("again", { version }, (g) => ({ out: g.input("clips", Clip).pipe(encode) }))
    assert.deepStrictEqual(make().nodes, make().nodes)
  })

  it("is recognised", () => {
    assert.isTrue(Graph.isGraph(two))
    assert.isTrue(Graph.isGraph(Graph.configure(two, {})))
    assert.isFalse(Graph.isGraph({ ...two }))
    assert.isFalse(Graph.isGraph(null))
    assert.isTrue(Operator.isOperator(Encode))
    assert.isFalse(Operator.isOperator(() => Encode()))
  })

  it("does not change", () => {
    assert.throws(() => void (two.nodes as Array<Graph.Placed>).pop(), TypeError)
    assert.throws(() => void ((two as { name: string }).name = "other"), TypeError)
    assert.throws(() => void ((two.outputs as { [key: string]: string })["more"] = "short"), TypeError)
  })

  it("finds nodes and ports by name, and not what every object inherits", () => {
    assert.strictEqual(Graph.nodeOf(two, "encode")?.operator.name, "encode")
    assert.isUndefined(Graph.nodeOf(two, "clips"))
    assert.strictEqual(Graph.portOf(two, "clips"), Clip)
    assert.strictEqual(Graph.portOf(two, "short"), Clip)
    assert.isUndefined(Graph.portOf(two, "constructor"))
    assert.isUndefined(Graph.portOf(two, "nothing"))
  })
})

describe("what a graph refuses", () => {
  it("NameTaken: a node twice, and a node named like an input", () => {
    const twice = () =>
      Graph.make("twice", { version }, (g) => ({ out: g.input("clips", Clip).pipe(Short(), Short()) }))
    assertReadable(
      thrown(GraphError.NameTaken, twice).message,
      'graph twice has two nodes or inputs named short; name one with .as("another-name")',
    )
    const asInput = () =>
      Graph.make("same", { version }, (g) => ({ out: g.input("encode", Clip).pipe(Encode()) }))
    assert.strictEqual(thrown(GraphError.NameTaken, asInput).name, "NameTaken")
  })

  it.each(["", "a/b", "../up", "two words", "a.b", "__proto__", "-x", "é"])("NameInvalid: %j", (name) => {
    assert.throws(
      () => Graph.make(name, { version }, (g) => ({ out: g.input("clips", Clip) })),
      GraphError.NameInvalid,
    )
    assert.throws(
      () => Graph.make("g", { version }, (g) => ({ out: g.input(name, Clip) })),
      GraphError.NameInvalid,
    )
    assert.throws(
      () => Graph.make("g", { version }, (g) => ({ out: g.input("clips", Clip).pipe(Short().as(name)) })),
      GraphError.NameInvalid,
    )
    assert.throws(
      () => Operator.filter(name, { version, input: Clip, run: () => Effect.succeed(drop("all")) }),
      GraphError.NameInvalid,
    )
  })

  it("NameInvalid says what to use", () => {
    const error = thrown(GraphError.NameInvalid, () =>
      Graph.make("a/b", { version }, (g) => ({ out: g.input("clips", Clip) })),
    )
    assertReadable(error.message, 'graph is named "a/b"; use letters, digits, - and _')
  })

  it("EdgeForeign: an edge of another graph as an output, an input or a side", () => {
    let leaked!: Edge.Edge<typeof Embedding, "text">
    Graph.make("first", { version }, (g) => ({ out: (leaked = g.input("text", Embedding)) }))
    const output = () => Graph.make("second", { version }, () => ({ out: leaked }))
    assertReadable(
      thrown(GraphError.EdgeForeign, output).message,
      "graph second: output out is wired across graphs, or after the graph was made; edges cannot leave the function that made them",
    )
    const side = () =>
      Graph.make("second", { version }, (g) => ({
        out: g.input("latents", TinyLatent).pipe(Train({ steps: 1 }).with({ text: leaked })),
      }))
    assert.strictEqual(thrown(GraphError.EdgeForeign, side).node, "train")
  })

  it("EdgeForeign: piping a leaked edge would have changed a graph that was already made", () => {
    let leaked!: Edge.Edge<typeof Clip, "clips">
    let builder!: Graph.Builder
    const graph = Graph.make("first", { version }, (g) => {
      builder = g
      return { out: (leaked = g.input("clips", Clip)) }
    })
    assert.throws(() => leaked.pipe(Short()), GraphError.EdgeForeign)
    assert.throws(() => builder.input("late", Clip), GraphError.EdgeForeign)
    assert.deepStrictEqual(graph.nodes, [])
    assert.deepStrictEqual(Object.keys(graph.inputs), ["clips"])
  })

  it("SideMissing, where types are erased", () => {
    const graph = () =>
      Graph.make("bare", { version }, (g) => ({
        out: g.input("latents", TinyLatent).pipe(Dit({ steps: 1 }) as unknown as Node.Any as any),
      }))
    assertReadable(
      thrown(GraphError.SideMissing, graph).message,
      "graph bare: dit needs the side input text; give it with .with({ text: edge })",
    )
  })

  it.each(["1", "1.0", "v1.0.0", "1.0.0-", "1.0.0-a..b", "01.0.0", "latest", ""])(
    "VersionInvalid: %j",
    (bad) => {
      const graph = () => Graph.make("g", { version: bad }, (g) => ({ out: g.input("clips", Clip) }))
      assertReadable(
        thrown(GraphError.VersionInvalid, graph).message,
        `graph g has version "${bad}"; use a semantic version such as 1.0.0`,
      )
      const operator = () =>
        Operator.filter("f", { version: bad, input: Clip, run: () => Effect.succeed(drop("all")) })
      assert.strictEqual(thrown(GraphError.VersionInvalid, operator).of, "operator f")
    },
  )

  it.each(["0.0.1", "10.20.30", "1.0.0-rc.1", "1.0.0-alpha"])("takes version %s", (good) => {
    assert.strictEqual(
      Graph.make("g", { version: good }, (g) => ({ out: g.input("clips", Clip) })).version,
      good,
    )
  })
})

const Tuned = Operator.filter("tuned", {
  version,
  input: Clip,
  params: Schema.Struct({
    min: Schema.Finite.check(Schema.isGreaterThan(0)),
    limit: Schema.Int.pipe(Schema.withDecodingDefaultKey(Effect.succeed(8))),
    since: Schema.optionalKey(Schema.DateFromString),
  }),
  run: () => Effect.succeed(drop("all")),
})

describe("params", () => {
  it("defaults are filled in, in the value and in the JSON form", () => {
    assert.deepStrictEqual(Params.resolve(Tuned, { min: 1 }), {
      value: { min: 1, limit: 8 },
      json: { min: 1, limit: 8 },
    })
  })

  it("values are what `run` takes, JSON is what is recorded", () => {
    const node = Tuned({ min: 1, limit: 2, since: "2026-01-01T00:00:00.000Z" })
    assert.deepStrictEqual(node.value, { min: 1, limit: 2, since: new Date("2026-01-01T00:00:00.000Z") })
    assert.deepStrictEqual(node.params, { min: 1, limit: 2, since: "2026-01-01T00:00:00.000Z" })
  })

  it.prop(
    "the JSON form resolves to itself",
    [Schema.Finite.check(Schema.isGreaterThan(0)), Schema.Int],
    ([min, limit]) => {
      const { json } = Params.resolve(Tuned, { min, limit })
      const again = Params.resolve(Tuned, json)
      assert.strictEqual(Canonical.stringify(again.json), Canonical.stringify(json))
    },
  )

  it.each([
    [{}, 'params of tuned: Missing key at ["min"]'],
    [{ min: "1" }, 'params of tuned: Expected number at ["min"]'],
    [{ min: 0 }, 'params of tuned: Expected a value greater than 0 at ["min"]'],
    [{ min: 1, mxa: 2 }, 'params of tuned: Expected no excess property at ["mxa"]'],
    [null, "params of tuned: Expected object"],
  ])("ParamsInvalid: %j", (given, message) => {
    assertReadable(thrown(GraphError.ParamsInvalid, () => Tuned(given as never)).message, message)
  })

  it("ParamsInvalid: an operator without params takes none", () => {
    assertReadable(
      thrown(GraphError.ParamsInvalid, () => Encode({ crf: 20 } as never)).message,
      'params of encode: Expected no params, got ["crf"]',
    )
  })

  it("ParamsInvalid names every mistake, one a line", () => {
    const { message } = thrown(GraphError.ParamsInvalid, () => Tuned({ limit: 0.5 } as never))
    assert.deepStrictEqual(message.split("\n").length, 2)
    assert.include(message, '["min"]')
    assert.include(message, '["limit"]')
  })
})

describe("replaceLayer", () => {
  const real = Layer.effect(Captioner, Effect.die("no test builds it"))
  const fake = Layer.succeed(
    Captioner,
    captionerOf(() => "a fake"),
  )
  const Recaption = Operator.map("recaption", {
    version,
    input: Clip,
    output: Caption,
    params: Schema.Struct({ prefix: Schema.String }),
    layer: real,
    worker: import.meta.url,
    run: ({ id }) => Captioner.use(({ describe }) => Effect.map(describe(id), (text) => ({ id, text }))),
  })
  const graph = Graph.make("captions", { version }, (g) => {
    const clips = g.input("clips", Clip)
    return {
      one: clips.pipe(Recaption({ prefix: "1" }).as("one")),
      two: clips.pipe(Short(), Recaption({ prefix: "2" })),
    }
  })

  it("gives the operators of a layer another, and leaves the rest", () => {
    const faked = Graph.replaceLayer(graph, real, fake)
    const [one, short, two] = faked.nodes.map(({ operator }) => operator)
    assert.strictEqual(one, two, "one operator stays one")
    assert.strictEqual(short, Short)
    assert.strictEqual(one!.layer, fake)
    assert.deepStrictEqual([one!.relayered, Recaption.relayered], [true, false])
    assert.isUndefined(one!.worker, "a worker would build the layer that its module has")
    assert.deepStrictEqual(
      faked.nodes.map(({ id, params }) => [id, params]),
      graph.nodes.map(({ id, params }) => [id, params]),
    )
    assert.isTrue(Graph.isGraph(faked))
    assert.strictEqual(Recaption.layer, real)
    assert.strictEqual(Recaption.worker, import.meta.url)
    assert.strictEqual((one as unknown as typeof Recaption)({ prefix: "3" }).operator, one)
  })

  it("refuses a layer that no operator brings", () => {
    assertReadable(
      thrown(GraphError.LayerUnused, () => Graph.replaceLayer(graph, fake, fake)).message,
      "no operator of graph captions brings this layer; give the very value that is the operator's layer",
    )
  })
})

describe("configure", () => {
  const graph = Graph.make("tunable", { version }, (g) => ({
    clips: g.input("clips", Clip).pipe(Tuned({ min: 1 })),
    text: g.input("captions", Caption).pipe(Embed().as("constructor")),
  }))

  it("changes params, and nothing else", () => {
    const changed = Graph.configure(graph, { tuned: { limit: 3 } })
    assert.deepStrictEqual(changed.nodes[0]!.params, { min: 1, limit: 3 })
    assert.deepStrictEqual(changed.nodes[0]!.value, { min: 1, limit: 3 })
    assert.deepStrictEqual(graph.nodes[0]!.params, { min: 1, limit: 8 })
    assert.strictEqual(changed.nodes[1], graph.nodes[1])
    assert.deepStrictEqual({ ...changed, nodes: [] }, { ...graph, nodes: [] })
  })

  it("NodeUnknown", () => {
    assertReadable(
      thrown(GraphError.NodeUnknown, () => Graph.configure(graph, { clips: { min: 2 } })).message,
      "graph tunable has no node clips; it has tuned, constructor",
    )
  })

  it("an unknown param, and one of the wrong type", () => {
    assertReadable(
      thrown(GraphError.ParamsInvalid, () => Graph.configure(graph, { tuned: { mim: 2 } })).message,
      'params of tuned: Expected no excess property at ["mim"]',
    )
    assert.throws(() => Graph.configure(graph, { tuned: { min: "2" } }), GraphError.ParamsInvalid)
    assertReadable(
      thrown(GraphError.ParamsInvalid, () => Graph.configure(graph, { constructor: { a: 1 } })).message,
      'params of constructor (embed): Expected no params, got ["a"]',
    )
  })
})

describe("Operator", () => {
  it("has the defaults that its options state", () => {
    const {
      batchSize,
      cardinality,
      concurrency,
      description,
      resources,
      retries,
      seeded,
      timeoutMs,
      worker,
    } = Encode
    assert.deepStrictEqual(
      { batchSize, cardinality, concurrency, description, resources, retries, seeded, timeoutMs, worker },
      {
        batchSize: 1,
        cardinality: "map",
        concurrency: undefined,
        description: "",
        resources: { cores: 1 },
        retries: 2,
        seeded: false,
        timeoutMs: undefined,
        worker: undefined,
      },
    )
    assert.strictEqual(Encode.name, "encode")
    assert.isUndefined(Short.output)
  })

  it("an operator knows the module that made it", () => {
    const [innermost = ""] = Encode.modules
    assert.match(innermost, /packages\/core\/test\/wrong\/ports\.ts$/)
    const factory = () =>
      Operator.filter("f", { version, input: Clip, run: () => Effect.succeed(drop("no")) })
    assert.match(factory().modules[0]!, /packages\/core\/test\/Graph\.test\.ts$/)
  })

  it("drops say why", () => {
    assert.strictEqual(
      drop("too-dark", "mean luma 11.2 below 16").message,
      "too-dark: mean luma 11.2 below 16",
    )
    assert.strictEqual(drop("too-dark").message, "too-dark")
  })

  it("serialises its own facts", () => {
    assert.strictEqual(
      Canonical.stringify(Operator.toJson(Encode)),
      '{"cardinality":"map","name":"encode","resources":{"cores":1},"seeded":false,"version":"1.0.0"}',
    )
  })
})
