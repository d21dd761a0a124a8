import { spawnSync } from "node:child_process"
import { readFileSync } from "node:fs"
import { join } from "node:path"

import { assert, describe, it } from "@effect/vitest"
import {
  Canonical,
  Difference,
  Drawing,
  Graph,
  GraphJson,
  Operator,
  Port,
  Resources,
  Snapshot,
  Tensor,
} from "@reelgraph/core"
import * as Effect from "effect/Effect"
import * as Schema from "effect/Schema"

import { Caption, Clip, DecodeTiny, Dit, Embed, Encode, Short } from "./wrong/ports.ts"

const fixed = Graph.make("fixed", { version: "1.2.3", description: "a graph that never changes" }, (g) => {
  const text = g.input("captions", Caption).pipe(Embed())
  const latents = g.input("clips", Clip).pipe(Short(), Encode())
  return { clips: latents.pipe(Dit({ steps: 4 }).as("denoise").with({ text }), DecodeTiny()), text }
})

/** Computed once: another digest means that every recorded run and snapshot would lose its graph. */
const fixedDigest = "3a73b2cb6c5c9dd72d38b9c997a38f1d9262e18ecb1f0511824097525e354d26"

describe("GraphJson", () => {
  it("its schema takes what fromGraph gives, and gives it back", () => {
    const json = GraphJson.fromGraph(fixed)
    const decoded = Schema.decodeUnknownSync(GraphJson.GraphJson, { onExcessProperty: "error" })(
      JSON.parse(JSON.stringify(json)),
    )
    assert.deepStrictEqual(Difference.lines(json, decoded), [])
    assert.deepStrictEqual(Difference.lines(json, Schema.encodeSync(GraphJson.GraphJson)(decoded)), [])
  })

  it.each([
    ["another format", { reelgraph: 2 }],
    [
      "an unknown dtype",
      { inputs: { a: { name: "A", record: "0".repeat(64), tensors: { v: { dtype: "u9", shape: [] } } } } },
    ],
    [
      "a dimension of 0",
      { inputs: { a: { name: "A", record: "0".repeat(64), tensors: { v: { dtype: "u8", shape: [0] } } } } },
    ],
    ["no digest of a record", { inputs: { a: { name: "A", record: "abc", tensors: {} } } }],
  ])("its schema refuses %s", (_, change) => {
    assert.throws(() =>
      Schema.decodeUnknownSync(GraphJson.GraphJson)(Object.assign({}, GraphJson.fromGraph(fixed), change)),
    )
  })

  it("holds the wiring, with what flows on every edge", () => {
    const { nodes, outputs } = GraphJson.fromGraph(fixed)
    assert.deepStrictEqual(outputs, { clips: "decode-tiny", text: "embed" })
    const { gives, input, operator, params, sides, takes } = nodes["denoise"]!
    assert.deepStrictEqual(
      { operator, params, input, sides, takes: takes.name, gives: gives.name },
      {
        operator: "dit",
        params: { steps: 4 },
        input: "encode",
        sides: { text: { mode: "one", from: "embed" } },
        takes: "Latent",
        gives: "Latent",
      },
    )
  })

  it("the digest of a fixed graph is the committed one", () => {
    assert.strictEqual(GraphJson.digest(fixed), fixedDigest)
  })

  it("the digest is the same in another process", () => {
    const script = `
      import { Graph, GraphJson } from "@reelgraph/core"
      import * as ports from ${JSON.stringify(`./${join("test", "wrong", "ports.ts")}`)}
      const { Caption, Clip, DecodeTiny, Dit, Embed, Encode, Short } = ports
      const graph = Graph.make("fixed", { version: "1.2.3", description: "a graph that never changes" }, (g) => {
        const clips = g.input("clips", Clip)
        const text = g.input("captions", Caption).pipe(Embed())
        const out = clips.pipe(Short(), Encode(), Dit({ steps: 4 }).as("denoise").with({ text }), DecodeTiny())
        return { text, clips: out }
      })
      process.stdout.write(GraphJson.digest(graph))
    `
    const { stdout, stderr } = spawnSync(
      process.execPath,
      ["--input-type=module-typescript", "--eval", script],
      {
        cwd: join(import.meta.dirname, ".."),
        encoding: "utf8",
      },
    )
    assert.strictEqual(stdout, fixedDigest, stderr)
  })

  it("the digest sees every param, wire, port, version and resource", () => {
    const variant = (parts: Partial<Graph.Graph>) =>
      GraphJson.digest(Graph.fromParts<string, string>({ ...(fixed as Graph.Graph), ...parts }))
    const node = (change: Partial<Graph.Placed>) =>
      variant({ nodes: fixed.nodes.map((n) => (n.id === "denoise" ? { ...n, ...change } : n)) })
    const { operator } = Graph.nodeOf(fixed, "denoise")!
    const digests = [
      fixedDigest,
      variant({ version: "1.2.4" }),
      variant({ outputs: { text: "embed" } }),
      variant({ inputs: { ...fixed.inputs, clips: Caption } }),
      node({ params: { steps: 5 } }),
      node({ input: "clips" }),
      node({ sides: { text: "captions" } }),
      node({ output: Clip }),
      ...[{ version: "2.0.0" }, { seeded: true }, { resources: { cores: 2 } }].map((change) =>
        node({ operator: { ...operator, name: "dit", ...change } }),
      ),
    ]
    assert.strictEqual(new Set(digests).size, digests.length)
  })
})

describe("the JSON schema of graphs", () => {
  const schema = GraphJson.jsonSchema() as { readonly [key: string]: Canonical.Json }

  /** Every object in a document, with its path. */
  const objects = (
    value: Canonical.Json,
    path = "#",
  ): ReadonlyArray<[string, { readonly [key: string]: Canonical.Json }]> => {
    if (typeof value !== "object" || value === null) return []
    const inner = Object.entries(value).flatMap(([key, member]) =>
      objects(member as Canonical.Json, `${path}/${key}`),
    )
    return Array.isArray(value)
      ? inner
      : [[path, value as { readonly [key: string]: Canonical.Json }], ...inner]
  }

  it("is a draft 2020-12 document", () => {
    assert.strictEqual(schema["$schema"], "https://json-schema.org/draft/2020-12/schema")
    assert.strictEqual(schema["type"], "object")
    assert.isObject(schema["$defs"])
    for (const [path, object] of objects(schema)) {
      for (const old of ["definitions", "dependencies", "$recursiveRef", "additionalItems"]) {
        assert.isFalse(Object.hasOwn(object, old), `${path} has ${old}, of an older draft`)
      }
      if (Array.isArray(object["required"]) && typeof object["properties"] === "object") {
        assert.includeMembers(Object.keys(object["properties"] as object), [
          ...object["required"],
        ] as Array<string>)
      }
      if (typeof object["pattern"] === "string") assert.instanceOf(new RegExp(object["pattern"], "u"), RegExp)
    }
  })

  it("is the one that is committed", () => {
    const committed = readFileSync(new URL("../graph.schema.json", import.meta.url), "utf8")
    assert.deepStrictEqual(JSON.parse(committed), JSON.parse(JSON.stringify(schema)))
  })

  it("has only references that resolve", () => {
    const references = objects(schema).flatMap(([path, { $ref }]) =>
      typeof $ref === "string" ? [{ path, $ref }] : [],
    )
    assert.includeMembers(
      references.map(({ $ref }) => $ref),
      ["#/$defs/Node", "#/$defs/Port", "#/$defs/Tensor", "#/$defs/Resources"],
    )
    for (const { path, $ref } of references) {
      const target = $ref
        .replace("#/", "")
        .split("/")
        .reduce((value: any, key) => value?.[key.replaceAll("~1", "/").replaceAll("~0", "~")], schema)
      assert.isObject(target, `${path} refers to ${$ref}`)
    }
  })

  it("says what a digest, a dtype and a dimension are", () => {
    const text = Canonical.stringify(schema)
    assert.include(text, String.raw`"pattern":"^[0-9a-f]{64}$"`)
    assert.include(text, '"bf16"')
    assert.include(text, "[A-Za-z_]")
  })

  it("its required members are exactly those that serialised graphs have", () => {
    assert.deepStrictEqual(
      [...(schema["required"] as ReadonlyArray<string>)].sort(),
      Object.keys(GraphJson.fromGraph(fixed)).sort(),
    )
  })
})

describe("Snapshot", () => {
  const snapshot = JSON.parse(Snapshot.text(fixed)) as Canonical.Json

  it("is a text file named after the graph, and equal to the graph", () => {
    assert.strictEqual(Snapshot.fileName(fixed), "fixed@1.2.3.json")
    assert.isTrue(Snapshot.text(fixed).endsWith("}\n"))
    assert.isUndefined(Snapshot.changed(fixed, snapshot))
  })

  it("a changed param under the same version is an error that shows the difference", () => {
    const changed = Snapshot.changed(Graph.configure(fixed, { denoise: { steps: 8 } }), snapshot)
    assert.strictEqual(
      changed?.message,
      "graph fixed changed under version 1.2.3; give it a new version, or undo:\n  nodes.denoise.params.steps: 4 -> 8",
    )
  })

  it("a changed wiring shows every edge", () => {
    const changed = Snapshot.changed(
      Graph.fromParts<string, string>({ ...fixed, outputs: { clips: "encode", more: "short" } }),
      snapshot,
    )
    assert.deepStrictEqual(changed?.differences, [
      'outputs.clips: "decode-tiny" -> "encode"',
      'outputs.more: added "short"',
      'outputs.text: removed "embed"',
    ])
  })
})

describe("Drawing", () => {
  it("Mermaid", () => {
    assert.strictEqual(
      Drawing.mermaid(fixed),
      `flowchart TD
  0(["captions"])
  1(["clips"])
  2["embed@1.0.0"]
  3["short@1.0.0"]
  4["encode@1.0.0"]
  5["denoise #40;dit@1.0.0#41;"]
  6["decode-tiny@1.0.0"]
  7(["clips"])
  8(["text"])
  0 -->|"Caption"| 2
  1 -->|"Clip"| 3
  3 -->|"Clip"| 4
  4 -->|"Latent"| 5
  2 -->|"text: Embedding"| 5
  5 -->|"Latent"| 6
  6 -->|"Clip"| 7
  2 -->|"Embedding"| 8`,
    )
  })

  it("DOT", () => {
    assert.strictEqual(
      Drawing.dot(fixed),
      `digraph "G" {
  "0" [label="captions"];
  "1" [label="clips"];
  "2" [label="embed@1.0.0"];
  "3" [label="short@1.0.0"];
  "4" [label="encode@1.0.0"];
  "5" [label="denoise (dit@1.0.0)"];
  "6" [label="decode-tiny@1.0.0"];
  "7" [label="clips"];
  "8" [label="text"];
  "0" -> "2" [label="Caption"];
  "1" -> "3" [label="Clip"];
  "3" -> "4" [label="Clip"];
  "4" -> "5" [label="Latent"];
  "2" -> "5" [label="text: Embedding"];
  "5" -> "6" [label="Latent"];
  "6" -> "7" [label="Clip"];
  "2" -> "8" [label="Embedding"];
}`,
    )
  })

  it("labels are escaped", () => {
    const Odd = Port.make('a "b" | <c> \\ & d]', { record: Schema.Struct({}) })
    const graph = Graph.make("odd", { version: "1.0.0" }, (g) => ({ out: g.input("in", Odd) }))
    const [edge] = Drawing.mermaid(graph)
      .split("\n")
      .filter((line) => line.includes("-->"))
    assert.strictEqual(edge, '  0 -->|"a #quot;b#quot; #124; #lt;c#gt; #92; #amp; d#93;"| 1')
    assert.include(Drawing.dot(graph), String.raw`"0" -> "1" [label="a \"b\" | <c> \\ & d]"];`)
  })

  it("a graph with a source that does not exist can still be drawn", () => {
    const graph = Graph.fromParts<string, string>({ ...fixed, outputs: { out: "nothing" } })
    assert.include(Drawing.dot(graph), '[label="nothing?"]')
  })
})

describe("Resources", () => {
  const capacity: Resources.Capacity = {
    name: "node",
    cores: 8,
    memoryGiB: 32,
    gpus: 2,
    gpuMemoryGiB: 80,
    gpuModel: "h100",
  }

  it.each([
    [{ cores: 8, memoryGiB: 32, gpu: { count: 2, memoryGiB: 80, model: "h100" } }, []],
    [{ cores: 0.5 }, []],
    [{ cores: 9 }, ["9 cores of 8"]],
    [{ cores: 1, memoryGiB: 33 }, ["33 GiB of memory of 32"]],
    [{ cores: 1, gpu: { count: 3 } }, ["3 GPUs of 2"]],
    [{ cores: 1, gpu: { count: 1, model: "a100" } }, ["GPU model a100, has h100"]],
    [{ cores: 1, gpu: { count: 1, memoryGiB: 81 } }, ["81 GiB of GPU memory of 80"]],
    [
      { cores: 9, memoryGiB: 33, gpu: { count: 3 } },
      ["9 cores of 8", "33 GiB of memory of 32", "3 GPUs of 2"],
    ],
  ])("shortfall of %j", (request, lacks) => {
    assert.deepStrictEqual(Resources.shortfall(request, capacity), lacks)
  })

  it("shortfall on a pool without GPUs, and on one that does not say which", () => {
    const { gpuMemoryGiB: _, gpuModel: __, ...silent } = capacity
    assert.deepStrictEqual(Resources.shortfall({ cores: 1, gpu: { count: 1 } }, { ...silent, gpus: 0 }), [
      "1 GPU of 0",
    ])
    assert.deepStrictEqual(Resources.shortfall({ cores: 1, gpu: { count: 1, model: "h100" } }, silent), [
      "GPU model h100, has another",
    ])
    assert.deepStrictEqual(Resources.shortfall({ cores: 1, gpu: { count: 1, memoryGiB: 24 } }, silent), [
      "24 GiB of GPU memory of 0",
    ])
  })

  it("requests of no cores or half a GPU are no requests", () => {
    const is = Schema.is(Resources.Resources)
    assert.isTrue(is({ cores: 0.5 }))
    assert.isFalse(is({ cores: 0 }))
    assert.isFalse(is({ cores: 1, gpu: { count: 0.5 } }))
  })
})

describe("Port", () => {
  it("a record's digest sees its fields, and not which value of Schema it is", () => {
    const of = (record: Port.RecordSchema) => Port.recordDigest(record)
    const record = () => Schema.Struct({ id: Schema.String, n: Schema.Int })
    assert.strictEqual(of(record()), of(record()))
    assert.notStrictEqual(of(record()), of(Schema.Struct({ id: Schema.String, n: Schema.Finite })))
    assert.notStrictEqual(
      of(record()),
      of(Schema.Struct({ id: Schema.String, n: Schema.optionalKey(Schema.Int) })),
    )
  })

  it("its serialised form is what its schema takes", () => {
    const json = Port.toJson(Clip)
    assert.deepStrictEqual(Schema.decodeUnknownSync(Port.PortJson)(JSON.parse(JSON.stringify(json))), json)
    assert.deepStrictEqual(json.tensors["video"], Clip.tensors.video satisfies Tensor.Tensor)
  })

  it("a filter gives what its own edge carries", () => {
    const Any = Port.make("Any", { record: Schema.Struct({}) })
    const pass = Operator.filter("pass", {
      version: "1.0.0",
      input: Any,
      run: () => Effect.succeed("keep" as const),
    })
    const graph = Graph.make("g", { version: "1.0.0" }, (g) => ({ out: g.input("clips", Clip).pipe(pass()) }))
    const { gives, takes } = GraphJson.fromGraph(graph).nodes["pass"]!
    assert.deepStrictEqual([takes.name, gives.name], ["Any", "Clip"])
  })
})
