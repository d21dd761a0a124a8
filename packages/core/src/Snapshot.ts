/**
 * Snapshots: the committed JSON of a released graph. A graph that means something else under the same version
 * is an error that shows the difference.
 */
import * as Schema from "effect/Schema"

import type * as Canonical from "./Canonical.ts"
import * as Difference from "./Difference.ts"
import type * as Graph from "./Graph.ts"
import * as GraphJson from "./GraphJson.ts"

/** A graph differs from the snapshot of its name and version. */
export class GraphChanged extends Schema.TaggedError<GraphChanged>()("GraphChanged", {
  graph: Schema.String,
  version: Schema.String,
  differences: Schema.Array(Schema.String),
}) {
  override get message() {
    return (
      `graph ${this.graph} changed under version ${this.version}; give it a new version, or undo:\n` +
      this.differences.map((line) => `  ${line}`).join("\n")
    )
  }
}

/** `curate@1.0.0.json` */
export const fileName = (graph: Graph.Graph): string => `${graph.name}@${graph.version}.json`

/** The text of a snapshot: indented, with a final newline. */
export const text = (graph: Graph.Graph): string => `${JSON.stringify(GraphJson.fromGraph(graph), null, 2)}\n`

/** The error to show when a graph differs from its snapshot; nothing when they mean the same. */
export const changed = (graph: Graph.Graph, snapshot: Canonical.Json): GraphChanged | undefined => {
  const differences = Difference.lines(snapshot, GraphJson.fromGraph(graph))
  return differences.length === 0
    ? undefined
    : new GraphChanged({ graph: graph.name, version: graph.version, differences })
}
