/**
 * Graphs: operators wired by ports, with a name and a version. A graph is a plain immutable value; the
 * function given to {@link make} only says how to build it, and runs once.
 *
 * @example
 * ```ts
 * export default Graph.make("curate", { version: "1.0.0" }, (g) => {
 *   const videos = g.input("videos", SourceVideo)
 *   return { clips: videos.pipe(Probe(), SplitClips({ seconds: 5 }), Standardize()) }
 * })
 * ```
 */
import type * as Layer from "effect/Layer"

import type * as Canonical from "./Canonical.ts"
import type * as Edge from "./Edge.ts"
import {
  EdgeForeign,
  LayerUnused,
  NameInvalid,
  NameTaken,
  NodeUnknown,
  SideMissing,
  VersionInvalid,
} from "./GraphError.ts"
import * as Names from "./internal/Names.ts"
import type * as Node from "./Node.ts"
import * as Operator from "./Operator.ts"
import * as Params from "./Params.ts"
import type * as Port from "./Port.ts"

/** A node in its place. Inputs are names of graph inputs or of other nodes. */
export interface Placed {
  readonly id: string
  readonly operator: Operator.Any
  readonly params: Canonical.Json
  readonly value: unknown
  readonly input: string
  readonly sides: { readonly [name: string]: string }
  /** What the node gives; for a filter, what its input edge carries. */
  readonly output: Port.Any
}

/**
 * `R` are the services that its operators need from whoever runs it. Of a graph whose types are erased (`Graph` alone)
 * the compiler knows none: they are checked when it runs.
 */
export interface Graph<out Name extends string = string, Outputs extends string = string, out R = unknown> {
  readonly name: Name
  readonly version: string
  readonly description: string
  readonly inputs: { readonly [name: string]: Port.Any }
  /** In an order in which every node comes after those that feed it. */
  readonly nodes: ReadonlyArray<Placed>
  readonly outputs: { readonly [K in Outputs]: string }
  /** For the compiler alone: no such property exists. */
  readonly "~needs"?: R
}

/** The services that a graph requires of whoever runs it, as far as its type tells. */
export type Needs<G extends Graph> =
  G extends Graph<string, any, infer R> ? (unknown extends R ? never : R) : never

export const isGraph = (value: unknown): value is Graph =>
  typeof value === "object" && value !== null && (value as { [TypeId]?: unknown })[TypeId] === true

const TypeId = Symbol.for("reelgraph/core/Graph")

/** What the function given to {@link make} builds with. */
export interface Builder {
  /** Declares an input of the graph. */
  input<const Name extends string, P extends Port.Any>(name: Name, port: P): Edge.Edge<P, Name>
}

/**
 * Makes a graph.
 *
 * @throws NameInvalid, NameTaken, EdgeForeign, SideMissing, VersionInvalid where the graph is written
 */
export const make = <const Name extends string, const Outputs extends { readonly [name: string]: Edge.Any }>(
  name: Name,
  options: { readonly version: string; readonly description?: string },
  build: (g: Builder) => Outputs,
): Graph<Name, keyof Outputs & string, Edge.NeedsOf<Outputs[keyof Outputs]>> => {
  if (!Names.isName(name)) throw new NameInvalid({ of: "graph", given: name })
  if (!Names.isVersion(options.version))
    throw new VersionInvalid({ of: `graph ${name}`, version: options.version })
  const graph = Symbol(name)
  const inputs: { [name: string]: Port.Any } = {}
  const nodes: Array<Placed> = []
  const taken = new Set<string>()

  let open = true

  const claim = (id: string) => {
    if (!Names.isName(id)) throw new NameInvalid({ of: `a node or input of graph ${name}`, given: id })
    if (taken.has(id)) throw new NameTaken({ graph: name, node: id })
    taken.add(id)
  }
  const sourceOf = (edge: Edge.Any, into: string): string => {
    if (edge.graph !== graph) throw new EdgeForeign({ graph: name, node: into })
    return edge.from
  }
  const place = (node: Node.Any, from: Edge.Any): Edge.Any => {
    if (!open) throw new EdgeForeign({ graph: name, node: node.id })
    claim(node.id)
    const sides: { [side: string]: string } = {}
    for (const side of Object.keys(node.operator.sides)) {
      const wired = Object.hasOwn(node.sides, side) ? node.sides[side] : undefined
      if (wired === undefined) throw new SideMissing({ graph: name, node: node.id, side })
      sides[side] = sourceOf(wired, node.id)
    }
    const output = node.operator.output ?? from.port
    const { id, operator, params, value } = node
    nodes.push({ id, operator, params, value, input: sourceOf(from, id), sides, output })
    return edgeOf(id, output)
  }
  const edgeOf = (from: string, port: Port.Any): Edge.Any => {
    const edge: any = { from, port, graph }
    edge.pipe = (...chain: ReadonlyArray<Node.Any>) =>
      chain.reduce((previous: Edge.Any, node) => place(node, previous), edge)
    return edge
  }

  const outputs = build({
    input: (inputName, port) => {
      if (!open) throw new EdgeForeign({ graph: name, node: inputName })
      claim(inputName)
      inputs[inputName] = port
      return edgeOf(inputName, port) as any
    },
  })
  open = false
  return fromParts({
    name,
    version: options.version,
    description: options.description ?? "",
    inputs,
    nodes,
    outputs: Object.fromEntries(
      Object.entries(outputs).map(([output, edge]) => [output, sourceOf(edge, `output ${output}`)]),
    ) as { readonly [K in keyof Outputs & string]: string },
  })
}

/** A graph from its parts: what passes `graph -> graph` end with. */
export const fromParts = <Name extends string, Outputs extends string, R = unknown>(
  parts: Graph<Name, Outputs, R>,
): Graph<Name, Outputs, R> => {
  const graph = {
    ...parts,
    inputs: Object.freeze({ ...parts.inputs }),
    nodes: Object.freeze([...parts.nodes]),
    outputs: Object.freeze({ ...parts.outputs }),
  }
  return Object.freeze(Object.defineProperty(graph, TypeId, { value: true }))
}

/**
 * The same graph with some params changed: `{ standardize: { crf: 20 } }`.
 *
 * @throws NodeUnknown, ParamsInvalid
 */
export const configure = <G extends Graph>(
  graph: G,
  changes: { readonly [node: string]: { readonly [param: string]: unknown } },
): G => {
  for (const id of Object.keys(changes)) {
    if (nodeOf(graph, id) === undefined) {
      throw new NodeUnknown({ graph: graph.name, node: id, known: graph.nodes.map((node) => node.id) })
    }
  }
  return fromParts({
    ...graph,
    nodes: graph.nodes.map((node) => {
      const change = Object.hasOwn(changes, node.id) ? changes[node.id] : undefined
      if (change === undefined) return node
      const { name, params } = node.operator
      const { json, value } = Params.resolve(
        { name: node.id === name ? name : `${node.id} (${name})`, params },
        { ...(node.params as object), ...change },
      )
      return { ...node, params: json, value }
    }),
  }) as G
}

/**
 * The same graph with another layer in the place of one that its operators bring, such as a fake in a test:
 * `Graph.replaceLayer(graph, Captioner.layer, Layer.succeed(Captioner, fake))`. See {@link Operator.withLayer} for what
 * else changes.
 *
 * @throws LayerUnused
 */
export const replaceLayer = <G extends Graph, Gives>(
  graph: G,
  layer: Layer.Layer<Gives, any, any>,
  by: Layer.Layer<NoInfer<Gives>, unknown>,
): G => {
  const replaced = new Map<Operator.Any, Operator.Any>()
  for (const { operator } of graph.nodes)
    if (operator.layer === layer && !replaced.has(operator))
      replaced.set(operator, Operator.withLayer(operator, by))
  if (replaced.size === 0) throw new LayerUnused({ graph: graph.name })
  return fromParts({
    ...graph,
    nodes: graph.nodes.map((node) => ({ ...node, operator: replaced.get(node.operator) ?? node.operator })),
  }) as G
}

/** Nodes by id: graphs do not change, so one index serves every look-up. */
const indices = new WeakMap<ReadonlyArray<Placed>, ReadonlyMap<string, Placed>>()

/** The node of an id. */
export const nodeOf = (graph: Graph, id: string): Placed | undefined => {
  let index = indices.get(graph.nodes)
  if (index === undefined) {
    index = new Map(graph.nodes.map((node) => [node.id, node]))
    indices.set(graph.nodes, index)
  }
  return index.get(id)
}

/** What the input or node of a name gives. */
export const portOf = (graph: Graph, source: string): Port.Any | undefined =>
  Object.hasOwn(graph.inputs, source) ? graph.inputs[source] : nodeOf(graph, source)?.output
