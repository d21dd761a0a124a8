/**
 * The serialised form of a graph: canonical JSON with a schema and a digest.
 *
 * It holds what a graph *means*: its nodes, params, wiring and ports. It is what a run records, what a
 * snapshot commits, and what two versions are compared by.
 */
import * as Schema from "effect/Schema"

import type * as Canonical from "./Canonical.ts"
import * as Digest from "./Digest.ts"
import type * as Graph from "./Graph.ts"
import * as Port from "./Port.ts"
import { Resources } from "./Resources.ts"

export const NodeJson = Schema.Struct({
  operator: Schema.String,
  version: Schema.String,
  cardinality: Schema.Literals(["map", "filter", "flatMap", "batch", "collect"]),
  params: Schema.Json,
  /** Name of the graph input or node whose items drive this node. */
  input: Schema.String,
  sides: Schema.Record(
    Schema.String,
    Schema.Struct({ mode: Schema.Literals(["one", "all"]), from: Schema.String }),
  ),
  takes: Port.PortJson,
  gives: Port.PortJson,
  resources: Resources,
  seeded: Schema.Boolean,
}).annotate({ identifier: "Node" })

export interface NodeJson extends Schema.Schema.Type<typeof NodeJson> {}

export const GraphJson = Schema.Struct({
  /** Version of this format. */
  reelgraph: Schema.Literal(1),
  name: Schema.String,
  version: Schema.String,
  description: Schema.String,
  inputs: Schema.Record(Schema.String, Port.PortJson),
  nodes: Schema.Record(Schema.String, NodeJson),
  outputs: Schema.Record(Schema.String, Schema.String),
})

export interface GraphJson extends Schema.Schema.Type<typeof GraphJson> {}

/** The serialised form of a graph. */
export const fromGraph = (graph: Graph.Graph): GraphJson => ({
  reelgraph: 1,
  name: graph.name,
  version: graph.version,
  description: graph.description,
  inputs: mapValues(graph.inputs, Port.toJson),
  nodes: Object.fromEntries(
    graph.nodes.map((node): [string, NodeJson] => [
      node.id,
      {
        operator: node.operator.name,
        version: node.operator.version,
        cardinality: node.operator.cardinality,
        params: node.params as NodeJson["params"],
        input: node.input,
        sides: Object.fromEntries(
          Object.entries(node.sides).map(([side, from]) => [
            side,
            { mode: node.operator.sides[side]!.mode, from },
          ]),
        ),
        takes: Port.toJson(node.operator.input),
        gives: Port.toJson(node.output),
        resources: node.operator.resources,
        seeded: node.operator.seeded,
      },
    ]),
  ),
  outputs: graph.outputs,
})

/** The digest of a graph: equal for graphs that mean the same. */
export const digest = (graph: Graph.Graph): Digest.Digest => Digest.ofJson(fromGraph(graph))

/** The JSON schema (draft 2020-12) of {@link GraphJson}. */
export const jsonSchema = (): Canonical.Json => {
  const { definitions, schema } = Schema.toJsonSchemaDocument(GraphJson)
  return {
    $schema: "https://json-schema.org/draft/2020-12/schema",
    title: "reelgraph graph",
    ...(schema as { [key: string]: Canonical.Json }),
    $defs: definitions as unknown as Canonical.Json,
  }
}

const mapValues = <A, B>(
  record: { readonly [key: string]: A },
  f: (value: A) => B,
): { readonly [key: string]: B } =>
  Object.fromEntries(Object.entries(record).map(([key, value]) => [key, f(value)]))
