/** `reel graphs`: the installed graphs, or one graph in full: its nodes, or its drawing. */
import { Drawing, type Graph, GraphJson } from "@reelgraph/core"
import * as Effect from "effect/Effect"

import * as Format from "../Format.ts"
import * as GraphSource from "../GraphSource.ts"
import * as Installed from "../Installed.ts"
import { TerminalOutput } from "../TerminalOutput.ts"
import type { Task } from "../Task.ts"
import { FlagsConflict } from "../UsageError.ts"

export interface Options {
  readonly graph: string | undefined
  readonly mermaid: boolean
  readonly dot: boolean
  readonly json: boolean
}

export const run: (options: Options) => Task = Effect.fn("reel.graphs")(function* (options: Options) {
  const screen = yield* TerminalOutput
  if ([options.mermaid, options.dot, options.json].filter(Boolean).length > 1)
    return yield* new FlagsConflict({ problem: "--mermaid, --dot and --json exclude each other; give one" })
  if (options.graph === undefined) {
    if (options.mermaid || options.dot)
      return yield* new FlagsConflict({
        problem: "a drawing is of one graph; name it, as in `reel graphs curate --mermaid`",
      })
    const graphs = yield* Effect.forEach(yield* Installed.graphs, ({ graph }) => graph)
    if (options.json) screen.print(JSON.stringify(graphs.map(GraphJson.fromGraph), null, 2))
    else screen.show(list(graphs))
    return
  }
  const { graph } = yield* GraphSource.find(options.graph)
  if (options.mermaid) screen.print(Drawing.mermaid(graph))
  else if (options.dot) screen.print(Drawing.dot(graph))
  else if (options.json)
    screen.print(
      JSON.stringify({ digest: GraphJson.digest(graph), graph: GraphJson.fromGraph(graph) }, null, 2),
    )
  else screen.show(detail(graph))
})

const list = (graphs: ReadonlyArray<Graph.Graph>): ReadonlyArray<string> =>
  graphs.length === 0
    ? ["no graphs are installed"]
    : Format.table(
        ["graph", "takes", "gives", "nodes", "what it does"],
        graphs.map((graph) => [
          GraphSource.label(graph),
          Object.keys(graph.inputs).join(", "),
          Object.keys(graph.outputs).join(", "),
          String(graph.nodes.length),
          graph.description,
        ]),
        [false, false, false, true],
      )

/** A graph for people: what it takes, its nodes with their params, what it gives. */
const detail = (graph: Graph.Graph): ReadonlyArray<string> => [
  `${GraphSource.label(graph)}${graph.description === "" ? "" : `: ${graph.description}`}`,
  ...Object.entries(graph.inputs).map(
    ([name, port]) =>
      `takes ${name}: ${port.name}, from ${port.files === undefined ? "JSON or NDJSON records" : `files (${port.files.extensions.join(" ")})`}`,
  ),
  "",
  ...Format.table(
    ["node", "operator", "from", "gives", "params"],
    graph.nodes.map((node) => [
      node.id,
      `${node.operator.name}@${node.operator.version}`,
      [node.input, ...Object.entries(node.sides).map(([side, from]) => `${side}: ${from}`)].join(", "),
      node.output.name,
      Object.entries(node.params as object)
        .map(([name, value]) => `${name}=${JSON.stringify(value)}`)
        .join(" "),
    ]),
  ),
  "",
  ...Object.entries(graph.outputs).map(([name, from]) => `gives ${name}: ${from}`),
]
