/** Where graphs come from: the installed ones by name, and a person's own by the path of a file. */
import { resolve } from "node:path"

import { Graph } from "@reelgraph/core"
import * as Effect from "effect/Effect"
import * as Schema from "effect/Schema"

import * as Installed from "./Installed.ts"
import * as UserModule from "./UserModule.ts"
import { GraphAmbiguous, GraphFileMissing, GraphNotExported, GraphUnknown } from "./UsageError.ts"

/** A graph, and where it came from: the file of a person's own, or the folder of snapshots of an installed one. */
export interface Found {
  readonly graph: Graph.Graph
  readonly file: string | undefined
  readonly snapshots: string | undefined
}

/** A graph file that failed while it was loaded: its syntax, its imports, or the graph it makes. */
export class GraphFileBroken extends Schema.TaggedError<GraphFileBroken>()("GraphFileBroken", {
  file: Schema.String,
  /** Line of the file, when it is known. */
  line: Schema.optionalKey(Schema.Int),
  problem: Schema.String,
}) {
  override get message() {
    return `${this.file}${this.line === undefined ? "" : `:${this.line}`} does not load: ${this.problem}`
  }
}

export type GraphSourceError =
  | GraphUnknown
  | GraphFileMissing
  | GraphFileBroken
  | GraphNotExported
  | GraphAmbiguous

/** `curate@1.0.0` */
export const label = (graph: { readonly name: string; readonly version: string }): string =>
  `${graph.name}@${graph.version}`

const isPath = (given: string): boolean =>
  /\.[cm]?[jt]s$/.test(given) || given.startsWith(".") || given.includes("/") || given.includes("\\")

/** The graph of a name (the latest version unless one is given) or of a file. */
export const find = (given: string): Effect.Effect<Found, GraphSourceError> =>
  isPath(given) ? fromFile(given) : fromName(given)

const fromName = (given: string): Effect.Effect<Found, GraphUnknown> =>
  Effect.gen(function* () {
    const graphs = yield* Installed.graphs
    const named = graphs.filter((graph) => graph.name === given || label(graph) === given)
    const [found] = named.sort((a, b) => compareVersions(b.version, a.version))
    if (found === undefined) return yield* new GraphUnknown({ name: given, known: graphs.map(label) })
    return { graph: yield* found.graph, file: undefined, snapshots: found.snapshots }
  })

const compareVersions = (a: string, b: string): number => {
  const [left, right] = [a, b].map((version) => version.split(/[.-]/).map(Number)) as [number[], number[]]
  for (let part = 0; part < 3; part++) {
    const apart = (left[part] ?? 0) - (right[part] ?? 0)
    if (apart !== 0) return apart
  }
  // 1.0.0-beta comes before 1.0.0.
  return b.length - a.length
}

const fromFile = Effect.fn("GraphSource.fromFile")(function* (given: string) {
  const file = resolve(given)
  if (!UserModule.isThere(file)) return yield* new GraphFileMissing({ file: given })
  const module = yield* Effect.mapError(
    UserModule.load(file),
    (broken) => new GraphFileBroken({ file: given, ...broken }),
  )
  if (Graph.isGraph(module["default"])) return { graph: module["default"], file, snapshots: undefined }
  const graphs = Object.entries(module).filter((entry): entry is [string, Graph.Graph] =>
    Graph.isGraph(entry[1]),
  )
  const [first] = graphs
  if (first === undefined)
    return yield* new GraphNotExported({ file: given, exports: Object.keys(module).sort() })
  if (graphs.length > 1)
    return yield* new GraphAmbiguous({ file: given, graphs: graphs.map(([name]) => name) })
  return { graph: first[1], file, snapshots: undefined }
})
