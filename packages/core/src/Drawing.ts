/** Graphs as pictures: Mermaid for Markdown, DOT for Graphviz. */
import * as EffectGraph from "effect/Graph"

import * as Graph from "./Graph.ts"

type Labels = { readonly node: string; readonly input: boolean }

const labelled = (graph: Graph.Graph): EffectGraph.DirectedGraph<Labels, string> =>
  EffectGraph.directed<Labels, string>((mutable) => {
    const indices = new Map<string, EffectGraph.NodeIndex>()
    const add = (name: string, labels: Labels) => void indices.set(name, EffectGraph.addNode(mutable, labels))
    for (const name of Object.keys(graph.inputs)) add(name, { node: name, input: true })
    for (const { id, operator } of graph.nodes) {
      add(id, {
        node:
          id === operator.name ? `${id}@${operator.version}` : `${id} (${operator.name}@${operator.version})`,
        input: false,
      })
    }
    for (const name of Object.keys(graph.outputs)) add(`output ${name}`, { node: name, input: true })
    const connect = (from: string, to: string, side: string) => {
      // Drawings help to see what is wrong with a graph: a source that does not exist is drawn too.
      if (!indices.has(from)) add(from, { node: `${from}?`, input: true })
      const label = Graph.portOf(graph, from)?.name ?? "?"
      EffectGraph.addEdge(
        mutable,
        indices.get(from)!,
        indices.get(to)!,
        side === "" ? label : `${side}: ${label}`,
      )
    }
    for (const node of graph.nodes) {
      connect(node.input, node.id, "")
      for (const [side, from] of Object.entries(node.sides)) connect(from, node.id, side)
    }
    for (const [name, from] of Object.entries(graph.outputs)) connect(from, `output ${name}`, "")
  })

/** A Mermaid flowchart. */
export const mermaid = (graph: Graph.Graph): string =>
  EffectGraph.toMermaid(labelled(graph), {
    nodeLabel: ({ node }) => node,
    edgeLabel: (label) => label,
    nodeShape: ({ input }) => (input ? "stadium" : "rectangle"),
  })

/** A Graphviz digraph. */
export const dot = (graph: Graph.Graph): string =>
  EffectGraph.toGraphViz(labelled(graph), { nodeLabel: ({ node }) => node, edgeLabel: (label) => label })
