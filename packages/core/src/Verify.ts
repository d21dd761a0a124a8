/**
 * What the compiler cannot see of a graph, checked on its data: cycles, wiring to nothing, two operators of one
 * name and version, nodes whose results nobody uses, shapes and latent spaces over the whole graph, records, resources
 * that no pool has, and services that nobody gives. Linear in the size of the graph.
 *
 * Runs on every graph before anything else does, also on those made by passes or with types erased.
 */
import * as Context from "effect/Context"
import * as EffectGraph from "effect/Graph"
import * as Option from "effect/Option"
import * as Schema from "effect/Schema"

import * as Graph from "./Graph.ts"
import * as JsonFields from "./internal/JsonFields.ts"
import type * as Operator from "./Operator.ts"
import type * as Port from "./Port.ts"
import { shortfall, type Capacity } from "./Resources.ts"
import type * as Services from "./Services.ts"
import * as Shape from "./Shape.ts"
import * as Tensor from "./Tensor.ts"

export const Kind = Schema.Literals([
  "duplicate",
  "operator",
  "cycle",
  "unknown-source",
  "side",
  "unused",
  "no-output",
  "record",
  "tensor-missing",
  "dtype",
  "rank",
  "shape",
  "space",
  "fps",
  "range",
  "resources",
  "service",
])

/** One thing that is wrong, where, and what to do. */
export const Problem = Schema.Struct({ kind: Kind, at: Schema.String, message: Schema.String })
export interface Problem extends Schema.Schema.Type<typeof Problem> {}

/** A graph that cannot run. */
export class GraphInvalid extends Schema.TaggedError<GraphInvalid>()("GraphInvalid", {
  graph: Schema.String,
  problems: Schema.Array(Problem),
}) {
  override get message() {
    const { length } = this.problems
    return `graph ${this.graph} has ${length} problem${length === 1 ? "" : "s"}:\n${this.problems.map(({ message }) => `  ${message}`).join("\n")}`
  }
}

/** The wiring of a graph for effect's graph algorithms. Sources that do not exist are left out. */
export const wiring = (graph: Graph.Graph): EffectGraph.DirectedGraph<string, string> =>
  EffectGraph.directed<string, string>((mutable) => {
    const indices = new Map<string, EffectGraph.NodeIndex>()
    for (const name of Object.keys(graph.inputs)) indices.set(name, EffectGraph.addNode(mutable, name))
    for (const { id } of graph.nodes) indices.set(id, EffectGraph.addNode(mutable, id))
    const connect = (from: string, to: string, label: string) => {
      const source = indices.get(from)
      if (source !== undefined) EffectGraph.addEdge(mutable, source, indices.get(to)!, label)
    }
    for (const node of graph.nodes) {
      connect(node.input, node.id, "")
      for (const [side, from] of Object.entries(node.sides)) connect(from, node.id, side)
    }
  })

/** Whether the calls of a node are given a service where they are made. */
export type Gives = (key: Services.Key, node: Graph.Placed) => boolean

/** Services that operators need and nobody gives. Those that have a default need not be given. */
const servicesMissing = (graph: Graph.Graph, gives: Gives): ReadonlyArray<Problem> =>
  graph.nodes.flatMap((node) =>
    node.operator.needs
      .filter((key) => !Context.isReference(key) && !gives(key, node))
      .map(({ key }) => ({
        kind: "service" as const,
        at: node.id,
        message: `${node.id} needs the service ${key}, which nothing gives where the calls of its operator ${node.operator.name}@${node.operator.version} are made; let the operator bring a layer that gives it${node.operator.worker === undefined ? ", or provide it to Engine.run" : ""}`,
      })),
  )

/**
 * Everything that is wrong with a graph, on pools with these capacities (any of them may take a node), where calls are
 * given these services. Without `gives` services are not checked.
 */
export const problems = (
  graph: Graph.Graph,
  pools: ReadonlyArray<Capacity> = [],
  gives?: Gives,
): ReadonlyArray<Problem> => {
  const found: Array<Problem> = gives === undefined ? [] : [...servicesMissing(graph, gives)]
  const report = (kind: Problem["kind"], at: string, message: string) =>
    void found.push({ kind, at, message })
  const known = new Set([...Object.keys(graph.inputs), ...graph.nodes.map((node) => node.id)])
  const used = new Set<string>()

  const use = (from: string, at: string) => {
    used.add(from)
    if (!known.has(from)) {
      report(
        "unknown-source",
        at,
        `${at} is wired to ${from}, which is neither an input nor a node of this graph`,
      )
    }
  }
  const seen = new Set(Object.keys(graph.inputs))
  const operators = new Map<string, { readonly id: string; readonly operator: Operator.Any }>()
  for (const { id, input, operator, sides } of graph.nodes) {
    const named = `${operator.name}@${operator.version}`
    const other = operators.get(named)
    if (other === undefined) operators.set(named, { id, operator })
    else if (other.operator !== operator) {
      report(
        "operator",
        id,
        `${other.id} and ${id} are two operators of one name, ${named}; give one another name, or make one operator and let params say what differs`,
      )
    }
    if (seen.has(id))
      report("duplicate", id, `two nodes or inputs are named ${id}; name one of them otherwise`)
    seen.add(id)
    use(input, id)
    for (const [side, from] of Object.entries(sides)) {
      use(from, `${id}.${side}`)
      if (!Object.hasOwn(operator.sides, side)) {
        report(
          "side",
          id,
          `${id} has no side input ${side}; it has ${Object.keys(operator.sides).join(", ") || "none"}`,
        )
      }
    }
    for (const side of Object.keys(operator.sides)) {
      if (!Object.hasOwn(sides, side))
        report("side", id, `${id} needs the side input ${side}; wire it to an input or a node`)
    }
  }
  for (const [output, from] of Object.entries(graph.outputs)) use(from, `output ${output}`)
  if (Object.keys(graph.outputs).length === 0) {
    report("no-output", graph.name, "the graph returns no outputs; return at least one edge")
  }
  for (const name of known) {
    if (!used.has(name)) {
      const what = Object.hasOwn(graph.inputs, name) ? "input" : "result of"
      report("unused", name, `the ${what} ${name} goes nowhere; wire it, return it, or remove it`)
    }
  }
  const wired = wiring(graph)
  const cycle = EffectGraph.findCycle(wired)
  if (Option.isSome(cycle)) {
    const names = cycle.value.path.map((index) =>
      Option.getOrElse(EffectGraph.getNode(wired, index), () => "?"),
    )
    report(
      "cycle",
      names[0] ?? graph.name,
      `the graph has a cycle: ${names.join(" -> ")}; items would never come out`,
    )
    return found
  }
  checkPorts(graph, wired, report)
  if (pools.length === 0) return found
  for (const node of graph.nodes) {
    const lacks = pools.map((pool) => ({ pool, lack: shortfall(node.operator.resources, pool) }))
    if (lacks.every(({ lack }) => lack.length > 0)) {
      const nearest = lacks.reduce((a, b) => (b.lack.length < a.lack.length ? b : a))
      report(
        "resources",
        node.id,
        `${node.id} asks for more than any pool has; the nearest is ${nearest.pool.name}, short of ${nearest.lack.join(", ")}`,
      )
    }
  }
  return found
}

type Report = (kind: Problem["kind"], at: string, message: string) => void

/** Tensors of an edge with their shapes solved. */
type Solved = ReadonlyMap<
  string,
  { readonly tensor: Tensor.Tensor; readonly shape: ReadonlyArray<Shape.Value> }
>

/** Solves the shapes of the whole graph from its inputs down. */
const checkPorts = (
  graph: Graph.Graph,
  wired: EffectGraph.DirectedGraph<string, string>,
  report: Report,
): void => {
  const solved = new Map<string, Solved>()
  for (const [name, port] of Object.entries(graph.inputs))
    solved.set(name, solve(port, new Map(), name, report))

  for (const id of EffectGraph.values(EffectGraph.topo(wired))) {
    const node = Graph.nodeOf(graph, id)
    if (node === undefined) continue
    const bindings: Shape.Bindings = new Map()
    const connect = (from: string, to: string, taken: Port.Any) => {
      const given = solved.get(from)
      const port = Graph.portOf(graph, from)
      if (given === undefined || port === undefined) return
      checkRecord(`edge ${from} -> ${to}`, to, port, taken, report)
      checkTensors(`edge ${from} -> ${to}`, to, given, taken, bindings, report)
    }
    connect(node.input, id, node.operator.input)
    for (const [side, from] of Object.entries(node.sides)) {
      const taken = node.operator.sides[side]
      if (taken !== undefined) connect(from, `${id}.${side}`, taken.port)
    }
    const passedOn = node.operator.output === undefined ? solved.get(node.input) : undefined
    solved.set(id, passedOn ?? solve(node.output, bindings, id, report))
  }
}

const solve = (port: Port.Any, bindings: Shape.Bindings, scope: string, report: Report): Solved => {
  const solved = new Map<string, { tensor: Tensor.Tensor; shape: ReadonlyArray<Shape.Value> }>()
  for (const [name, tensor] of Object.entries(port.tensors)) {
    const shape = Shape.shapeOf(tensor, bindings, scope)
    if (typeof shape === "string")
      report("shape", scope, `${scope} gives ${name} with a shape that does not come out: ${shape}`)
    else solved.set(name, { tensor, shape })
  }
  return solved
}

/** The fields that the taken record requires and the given one does not have, or has of another type. */
const checkRecord = (edge: string, to: string, given: Port.Any, taken: Port.Any, report: Report): void => {
  if (given.record === taken.record) return
  const mistakes = JsonFields.mistakes(given.record, taken.record)
  if (mistakes.length > 0)
    report("record", to, `${edge}: ${to} takes ${taken.name}; in ${given.name}, ${mistakes.join(", ")}`)
}

const checkTensors = (
  edge: string,
  to: string,
  given: Solved,
  port: Port.Any,
  bindings: Shape.Bindings,
  report: Report,
): void => {
  for (const [name, taken] of Object.entries(port.tensors)) {
    const found = given.get(name)
    if (found === undefined) {
      report(
        "tensor-missing",
        to,
        `${edge}: ${to} takes the tensor ${name} (${Tensor.show(taken)}), which this edge does not carry`,
      )
      continue
    }
    const { shape, tensor } = found
    const wrong = (kind: Problem["kind"], what: string) => report(kind, to, `${edge}: ${name}: ${what}`)
    if (tensor.dtype !== taken.dtype) wrong("dtype", `takes ${taken.dtype}, is given ${tensor.dtype}`)
    if (taken.space !== undefined && tensor.space !== taken.space) {
      wrong("space", `takes ${taken.space}, is given ${tensor.space ?? "no named space"}`)
    }
    if (taken.fps !== undefined && tensor.fps !== taken.fps)
      wrong("fps", `takes ${taken.fps} fps, is given ${tensor.fps ?? "no fixed rate"}`)
    if (taken.range !== undefined && tensor.range !== taken.range) {
      wrong("range", `takes ${taken.range} range, is given ${tensor.range ?? "no fixed range"}`)
    }
    if (taken.shape.length !== shape.length) {
      wrong(
        "rank",
        `takes ${taken.shape.length} dimensions [${taken.shape.join(", ")}], is given ${shape.length} [${shape.map(Shape.show).join(", ")}]`,
      )
      continue
    }
    taken.shape.forEach((dim, axis) => {
      const problem = Shape.unify(dim, shape[axis]!, bindings)
      if (problem !== undefined) wrong("shape", `dimension ${axis} ${problem}`)
    })
  }
}
