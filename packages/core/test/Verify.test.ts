import { assert, describe, it } from "@effect/vitest"
import { drop, Edge, Graph, Node, Operator, Port, Tensor, Verify } from "@reelgraph/core"
import type { Resources } from "@reelgraph/core"
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Schema from "effect/Schema"

import {
  BlobStore,
  Caption,
  Captioner,
  Checkpoint,
  Clip,
  Embed,
  Embedding,
  Encode,
  Short,
  SmallClip,
  TextClip,
} from "./wrong/ports.ts"

const version = "1.0.0"
type Spec = { readonly [name: string]: Tensor.Tensor }

const Record = Schema.Struct({ id: Schema.String })
const port = (name: string, tensors: Spec, record: Port.RecordSchema = Record): Port.Any =>
  Port.make(name, { record, tensors })

/** An operator whose types are erased, as passes and JavaScript authors have them. */
const erased = (
  name: string,
  input: Port.Any,
  output: Port.Any,
  rest: { readonly sides?: Operator.Sides; readonly resources?: Resources.Resources } = {},
): (() => Node.Any & { with(sides: { readonly [side: string]: Edge.Any }): Node.Any }) =>
  Operator.map(name, { version, input, output, run: () => Effect.die("never runs"), ...rest }) as any

/** A graph `input -> nodes in a row`, wired without the compiler. */
const chain = (input: Port.Any, ...nodes: ReadonlyArray<Node.Any>): Graph.Graph =>
  Graph.make("test", { version }, (g) => ({ out: (g.input("in", input) as any).pipe(...nodes) as Edge.Any }))

const problemsOf = (graph: Graph.Graph, ...rest: ReadonlyArray<any>) =>
  Verify.problems(graph, ...rest).map(({ kind, at, message }) => [kind, at, message])

const right = Graph.make("right", { version }, (g) => ({
  latents: g.input("clips", Clip).pipe(Short(), Encode()),
}))

const edit = (parts: Partial<Graph.Graph>): Graph.Graph =>
  Graph.fromParts<string, string>({ ...(right as Graph.Graph), ...parts })

const video = (change: Partial<Tensor.Tensor>): Spec => ({
  video: { dtype: "u8", shape: ["T", 3, "H", "W"], space: "pixels", fps: 24, range: "limited", ...change },
})
const taking = erased("take", port("Taken", video({})), port("Out", {}))

describe("Verify", () => {
  it("finds nothing wrong with a right graph", () => {
    assert.deepStrictEqual(Verify.problems(right), [])
  })

  it("duplicate", () => {
    const graph = edit({ nodes: [...right.nodes, { ...right.nodes[1]!, id: "clips" }] })
    assert.deepInclude(problemsOf(graph), [
      "duplicate",
      "clips",
      "two nodes or inputs are named clips; name one of them otherwise",
    ])
  })

  it("cycle", () => {
    const [short, encode] = right.nodes
    const graph = edit({ nodes: [{ ...short!, input: "encode" }, encode!], inputs: {} })
    assert.deepStrictEqual(
      Verify.problems(graph).map(({ kind }) => kind),
      ["cycle"],
    )
    assert.match(Verify.problems(graph)[0]!.message, /has a cycle: (short -> encode|encode -> short)/)
  })

  it("cycle of one node with itself", () => {
    const graph = edit({
      nodes: [{ ...right.nodes[0]!, input: "short" }],
      outputs: { out: "short" },
      inputs: {},
    })
    assert.deepStrictEqual(
      Verify.problems(graph).map(({ kind }) => kind),
      ["cycle"],
    )
  })

  it("unknown-source, also of outputs, and also when every object inherits the name", () => {
    const graph = edit({
      nodes: [{ ...right.nodes[0]!, input: "constructor" }, right.nodes[1]!],
      outputs: { latents: "encode", more: "nothing" },
    })
    assert.deepStrictEqual(problemsOf(graph), [
      [
        "unknown-source",
        "short",
        "short is wired to constructor, which is neither an input nor a node of this graph",
      ],
      [
        "unknown-source",
        "output more",
        "output more is wired to nothing, which is neither an input nor a node of this graph",
      ],
      ["unused", "clips", "the input clips goes nowhere; wire it, return it, or remove it"],
    ])
  })

  it("side: one that is not wired, and one that the operator does not have", () => {
    const judge = erased("judge", Clip, Caption, { sides: { weights: Operator.one(Checkpoint) } })
    const graph = Graph.make("judged", { version }, (g) => ({
      out: (g.input("clips", Clip) as any).pipe(
        judge().with({ weights: g.input("weights", Checkpoint) }),
      ) as Edge.Any,
    }))
    assert.deepStrictEqual(Verify.problems(graph), [])
    const swapped = Graph.fromParts<string, string>({
      ...graph,
      nodes: graph.nodes.map((node) => ({ ...node, sides: { model: "weights" } })),
    })
    assert.deepStrictEqual(problemsOf(swapped), [
      ["side", "judge", "judge has no side input model; it has weights"],
      ["side", "judge", "judge needs the side input weights; wire it to an input or a node"],
    ])
  })

  it("unused: a node and an input", () => {
    const graph = edit({ outputs: { clips: "short" }, inputs: { ...right.inputs, more: Clip } })
    assert.deepStrictEqual(problemsOf(graph), [
      ["unused", "more", "the input more goes nowhere; wire it, return it, or remove it"],
      ["unused", "encode", "the result of encode goes nowhere; wire it, return it, or remove it"],
    ])
  })

  it("no-output", () => {
    const graph = edit({ nodes: [], inputs: {}, outputs: {} })
    assert.deepStrictEqual(problemsOf(graph), [
      ["no-output", "right", "the graph returns no outputs; return at least one edge"],
    ])
  })

  it("record: fields that are missing, may be absent, or are of another type, also inside", () => {
    class Crop extends Schema.Class<Crop>("Crop")({ width: Schema.Int, height: Schema.Int }) {}
    const given = Schema.Struct({
      id: Schema.Int,
      note: Schema.optionalKey(Schema.String),
      crop: Schema.Struct({ width: Schema.Finite }),
      tags: Schema.Array(Schema.Int),
      kind: Schema.Literals(["shot", "scene", "take"]),
      frames: Schema.Int,
    })
    const taken = Schema.Struct({
      id: Schema.String,
      note: Schema.String,
      crop: Crop,
      tags: Schema.Array(Schema.String),
      kind: Schema.Literals(["shot", "scene"]),
      frames: Schema.Finite,
      seconds: Schema.Finite,
      extra: Schema.optionalKey(Schema.String),
    })
    const node = erased("take", port("Taken", {}, taken), port("Out", {}))
    assert.deepStrictEqual(problemsOf(chain(port("Given", {}, given), node())), [
      [
        "record",
        "take",
        "edge in -> take: take takes Taken; in Given, id is an integer, not a string, note may be absent, " +
          "crop.width is a number, not an integer, crop.height is missing, tags[] is an integer, not a string, " +
          'kind may be "take", seconds is missing',
      ],
    ])
  })

  it("record: a field of another type on a port of the same tensors", () => {
    assert.deepStrictEqual(problemsOf(chain(TextClip, Encode())), [
      [
        "record",
        "encode",
        "edge in -> encode: encode takes Clip; in TextClip, seconds is a string, not a number",
      ],
    ])
  })

  it("record: a recursive schema ends", () => {
    interface Tree {
      readonly children: ReadonlyArray<Tree>
    }
    const tree = (): Schema.Codec<Tree> => {
      const Self: Schema.Codec<Tree> = Schema.Struct({
        children: Schema.Array(Schema.suspend((): Schema.Codec<Tree> => Self)),
      }).annotate({ identifier: "Tree" })
      return Self
    }
    const node = erased("take", port("Taken", {}, tree()), port("Out", {}))
    assert.deepStrictEqual(Verify.problems(chain(port("Given", {}, tree()), node())), [])
  })

  it("tensor-missing", () => {
    assert.deepStrictEqual(problemsOf(chain(port("Bare", {}), taking())), [
      [
        "tensor-missing",
        "take",
        "edge in -> take: take takes the tensor video (u8 [T, 3, H, W] in pixels at 24 fps, limited range), which this edge does not carry",
      ],
    ])
  })

  it.each([
    ["dtype", video({ dtype: "f32" }), "takes u8, is given f32"],
    ["space", video({ space: "tiny-vae@1" }), "takes pixels, is given tiny-vae@1"],
    ["fps", video({ fps: 30 }), "takes 24 fps, is given 30"],
    ["range", video({ range: "full" }), "takes limited range, is given full"],
    ["rank", video({ shape: [3, 720] }), "takes 4 dimensions [T, 3, H, W], is given 2 [3, 720]"],
    ["shape", video({ shape: ["T", 4, "H", "W"] }), "dimension 1 takes 3, is given 4"],
  ] as const)("%s", (kind, tensors, message) => {
    assert.deepStrictEqual(problemsOf(chain(port("Given", tensors), taking())), [
      [kind, "take", `edge in -> take: video: ${message}`],
    ])
  })

  it.each([
    ["space", "takes pixels, is given no named space"],
    ["fps", "takes 24 fps, is given no fixed rate"],
    ["range", "takes limited range, is given no fixed range"],
  ] as const)("%s that the given port leaves open", (kind, message) => {
    const { [kind]: _, ...open } = video({})["video"]!
    assert.deepStrictEqual(problemsOf(chain(port("Given", { video: open }), taking())), [
      [kind, "take", `edge in -> take: video: ${message}`],
    ])
  })

  it("a taken port that names no space, rate or range takes any", () => {
    const lax = erased("lax", port("Any", { video: { dtype: "u8", shape: ["T", "C", "H", "W"] } }), Caption)
    assert.deepStrictEqual(Verify.problems(chain(Clip, lax())), [])
  })

  it("sides are checked like inputs", () => {
    const judge = erased("judge", Clip, Caption, { sides: { text: Operator.all(Embedding) } })
    const graph = Graph.make("judged", { version }, (g) => ({
      out: (g.input("clips", Clip) as any).pipe(
        judge().with({ text: g.input("wrong", SmallClip) }),
      ) as Edge.Any,
    }))
    assert.deepStrictEqual(problemsOf(graph), [
      [
        "tensor-missing",
        "judge.text",
        "edge wrong -> judge.text: judge.text takes the tensor text (f32 [L, 512]), which this edge does not carry",
      ],
    ])
  })

  it("a filter passes on what came in: its symbols reach the next node", () => {
    const fixed = erased("fixed", port("Small", video({ shape: ["T", 3, 72, 128] })), port("Out", {}))
    const some = Operator.filter("some", {
      version,
      input: port("Any", { video: { dtype: "u8", shape: ["T", "C", "H", "W"] } }),
      run: () => Effect.succeed(drop("all")),
    })
    assert.deepStrictEqual(problemsOf(chain(Clip, some(), fixed())), [
      ["shape", "fixed", "edge some -> fixed: video: dimension 2 takes 72, is given 720"],
      ["shape", "fixed", "edge some -> fixed: video: dimension 3 takes 128, is given 1280"],
    ])
  })

  describe("shapes over three operators", () => {
    const latent = (space: string): Spec => ({
      latent: { dtype: "f32", shape: ["T/8", 16, "H/8", "W/8"], space },
    })
    const pixels = port("Pixels", { video: { dtype: "u8", shape: ["T", 3, "H", "W"] } })
    const encode = erased("encode", pixels, port("Latent", latent("tiny")))
    const double = erased(
      "double",
      port("Latent", { latent: { dtype: "f32", shape: ["T", "C", "H", "W"], space: "tiny" } }),
      port("Latent", { latent: { dtype: "f32", shape: ["T", "C", "H*2", "W*2"], space: "tiny" } }),
    )
    const decode = erased("decode", port("Latent", latent("tiny")), pixels)
    const show = (t: number, h: number, w: number) =>
      erased("show", port("Pixels", { video: { dtype: "u8", shape: [t, 3, h, w] } }), port("Out", {}))()
    const clip = (t: number, h: number, w: number) =>
      port("Pixels", { video: { dtype: "u8", shape: [t, 3, h, w] } })

    it("unify when they come out", () => {
      const graph = chain(clip(120, 720, 1280), encode(), double(), decode(), show(120, 1440, 2560))
      assert.deepStrictEqual(Verify.problems(graph), [])
    })

    it("stay symbols of the input when it has symbols", () => {
      const graph = chain(pixels, encode(), double(), decode(), show(120, 1440, 2560))
      assert.deepStrictEqual(problemsOf(graph), [
        [
          "shape",
          "show",
          "edge decode -> show: video: dimension 0 takes 120, is given in.T, which need not be 120",
        ],
        [
          "shape",
          "show",
          "edge decode -> show: video: dimension 2 takes 1440, is given in.H*2, which need not be 1440",
        ],
        [
          "shape",
          "show",
          "edge decode -> show: video: dimension 3 takes 2560, is given in.W*2, which need not be 2560",
        ],
      ])
    })

    it("name the edge where they do not come out", () => {
      const graph = chain(clip(120, 720, 1280), encode(), double(), decode(), show(120, 720, 2560))
      assert.deepStrictEqual(problemsOf(graph), [
        ["shape", "show", "edge decode -> show: video: dimension 2 takes 720, is given 1440"],
      ])
    })

    it("name the node whose output would not be whole", () => {
      const graph = chain(clip(120, 724, 1280), encode(), erased("end", port("Any", {}), port("Out", {}))())
      assert.deepStrictEqual(problemsOf(graph), [
        [
          "shape",
          "encode",
          "encode gives latent with a shape that does not come out: H/8 is not a whole number here",
        ],
      ])
    })

    it("agree between the input and a side", () => {
      const mix = erased("mix", pixels, port("Out", {}), {
        sides: { mask: Operator.one(port("Mask", { mask: { dtype: "bool", shape: ["H", "W"] } })) },
      })
      const graph = Graph.make("mixed", { version }, (g) => ({
        out: (g.input("clips", clip(120, 720, 1280)) as any).pipe(
          mix().with({
            mask: g.input("masks", port("Mask", { mask: { dtype: "bool", shape: [72, 1280] } })),
          }),
        ) as Edge.Any,
      }))
      assert.deepStrictEqual(problemsOf(graph), [
        [
          "shape",
          "mix.mask",
          "edge masks -> mix.mask: mask: dimension 0 takes H with H = 720 from another dimension, is given 72",
        ],
      ])
    })
  })

  describe("resources", () => {
    const pools = [
      { name: "laptop", cores: 2, memoryGiB: 8, gpus: 0 },
      { name: "h100", cores: 64, memoryGiB: 512, gpus: 8, gpuMemoryGiB: 80, gpuModel: "h100" },
    ]
    const asking = (resources: Resources.Resources) =>
      chain(Caption, erased("heavy", Caption, Caption, { resources })())

    it("name the nearest pool and what it lacks", () => {
      assert.deepStrictEqual(problemsOf(asking({ cores: 32, memoryGiB: 64, gpu: { count: 16 } }), pools), [
        [
          "resources",
          "heavy",
          "heavy asks for more than any pool has; the nearest is h100, short of 16 GPUs of 8",
        ],
      ])
    })

    it("fit when one pool has everything, and are not checked without pools", () => {
      const graph = asking({ cores: 32, gpu: { count: 8, memoryGiB: 80, model: "h100" } })
      assert.deepStrictEqual(Verify.problems(graph, pools), [])
      assert.deepStrictEqual(Verify.problems(asking({ cores: 1000 })), [])
    })
  })

  it("operator", () => {
    const Taken = port("Taken", {})
    const [one, another] = [erased("same", Taken, Taken), erased("same", Taken, Taken)]
    assert.deepStrictEqual(problemsOf(chain(Taken, one().as("a"), one().as("b"))), [])
    assert.deepStrictEqual(problemsOf(chain(Taken, one().as("a"), another().as("b"))), [
      [
        "operator",
        "b",
        "a and b are two operators of one name, same@1.0.0; give one another name, or make one operator and let params say what differs",
      ],
    ])
  })

  describe("service", () => {
    const Quiet = Context.Reference<boolean>("test/Quiet", { defaultValue: () => false })
    const needing = (rest: { readonly worker?: string } = {}) =>
      Operator.map("recaption", {
        version,
        input: Caption,
        output: Caption,
        needs: [BlobStore, Captioner, Quiet],
        run: (caption) => Effect.as(Effect.andThen(BlobStore, Captioner), caption),
        ...rest,
      })
    const store: Verify.Gives = ({ key }) => key === BlobStore.key

    it("names node, operator, service, and what to do", () => {
      const message =
        "again needs the service test/Captioner, which nothing gives where the calls of its operator recaption@1.0.0 are made; let the operator bring a layer that gives it"
      assert.deepStrictEqual(problemsOf(chain(Caption, needing()().as("again")), [], store), [
        ["service", "again", `${message}, or provide it to Engine.run`],
      ])
      assert.deepStrictEqual(
        problemsOf(chain(Caption, needing({ worker: "file:///x.ts" })().as("again")), [], store),
        [["service", "again", message]],
      )
    })

    it("is given or not node by node, and not checked where nobody tells", () => {
      const graph = chain(Caption, needing()().as("a"), Embed())
      assert.deepStrictEqual(Verify.problems(graph), [])
      assert.deepStrictEqual(
        Verify.problems(graph, [], () => true),
        [],
      )
      assert.strictEqual(Verify.problems(graph, [], (_, { id }) => id !== "a").length, 2)
    })
  })

  it("every kind of problem has a test here", () => {
    const source = [Verify.Kind.literals].flat()
    assert.deepStrictEqual([...source].sort(), [
      "cycle",
      "dtype",
      "duplicate",
      "fps",
      "no-output",
      "operator",
      "range",
      "rank",
      "record",
      "resources",
      "service",
      "shape",
      "side",
      "space",
      "tensor-missing",
      "unknown-source",
      "unused",
    ])
  })

  it("takes work in proportion to the number of nodes", () => {
    const embed = Embed()
    const caption = erased("caption", Embedding, Caption)()
    /** How often the ids of a chain of nodes are read: counts, unlike times, do not depend on the machine. */
    const reads = (length: number) => {
      let count = 0
      const nodes = Array.from(
        { length },
        (_, i) => (i % 2 === 0 ? embed : caption).as(`node-${i}`) as Node.Any,
      )
      const graph = chain(Caption, ...nodes)
      const counted = Graph.fromParts<string, string>({
        ...graph,
        nodes: graph.nodes.map((node) =>
          Object.defineProperty({ ...node }, "id", { get: () => (count++, node.id), enumerable: true }),
        ),
      })
      assert.deepStrictEqual(Verify.problems(counted), [])
      return count
    }
    const thousand = reads(1000)
    assert.isAtLeast(thousand, 1000)
    assert.strictEqual(reads(4000), 4 * thousand)
  })

  it("GraphInvalid lists the problems, one a line", () => {
    const problems = Verify.problems(edit({ outputs: { clips: "short" } }))
    assert.strictEqual(
      new Verify.GraphInvalid({ graph: "right", problems }).message,
      "graph right has 1 problem:\n  the result of encode goes nowhere; wire it, return it, or remove it",
    )
    assert.include(
      new Verify.GraphInvalid({ graph: "right", problems: [...problems, ...problems] }).message,
      "graph right has 2 problems:\n",
    )
  })
})
