/** Params changed on the command line: `--set NODE.PARAM=VALUE`. */
import { Graph, Params } from "@reelgraph/core"
import * as Effect from "effect/Effect"
import * as Result from "effect/Result"

import * as Format from "./Format.ts"
import * as ParamDoc from "./ParamDoc.ts"
import { NodeUnknown, ParamUnknown, ParamWrong, SetMalformed } from "./UsageError.ts"

export type SettingError = SetMalformed | NodeUnknown | ParamUnknown | ParamWrong

type Fields = { readonly [name: string]: unknown }

/** The graph with every change made. The last of several for one param counts. */
export const apply = (
  graph: Graph.Graph,
  given: ReadonlyArray<string>,
): Effect.Effect<Graph.Graph, SettingError> => Effect.reduce(given, () => graph, applyOne)

const applyOne = (graph: Graph.Graph, given: string): Effect.Effect<Graph.Graph, SettingError> => {
  const equals = given.indexOf("=")
  const target = given.slice(0, Math.max(0, equals))
  const text = given.slice(equals + 1)
  // A node may have a dot in its name: the longest that fits is meant.
  const [node] = graph.nodes
    .filter(({ id }) => target.startsWith(`${id}.`))
    .sort((a, b) => b.id.length - a.id.length)
  const dot = target.indexOf(".")
  if (equals < 0 || dot <= 0 || dot === target.length - 1) return Effect.fail(new SetMalformed({ given }))
  if (node === undefined) {
    const nodes = graph.nodes.map(({ id }) => id)
    return Effect.fail(new NodeUnknown({ graph: graph.name, node: target.slice(0, dot), nodes }))
  }
  const path = target.slice(node.id.length + 1).split(".")
  const wants = ParamDoc.typeAt(node.operator, path)
  if (wants === undefined) {
    const params = ParamDoc.describe(node.operator).map(({ name }) => name)
    return Effect.fail(new ParamUnknown({ node: node.id, param: path.join("."), params }))
  }
  const parsed = Result.getOrElse(
    Result.try((): unknown => JSON.parse(text)),
    () => text,
  )
  const [param] = path as [string]
  // `--set caption.prefix=7` means the text "7" where a text is wanted.
  for (const value of typeof parsed === "string" ? [parsed] : [parsed, text]) {
    const params = put(node.params as Fields, path, value)
    if (Result.isSuccess(Result.try(() => Params.resolve(node.operator, params))))
      return Effect.succeed(Graph.configure(graph, { [node.id]: { [param]: params[param] } }))
  }
  const got = typeof parsed === "string" ? `the text ${JSON.stringify(parsed)}` : JSON.stringify(parsed)
  return Effect.fail(new ParamWrong({ param: target, wants, got: Format.cut(got, 80) }))
}

/** The same fields with the one at a path changed. */
const put = (fields: Fields, [name, ...rest]: ReadonlyArray<string>, value: unknown): Fields => {
  if (name === undefined) return fields
  const inner = fields[name]
  const isFields = typeof inner === "object" && inner !== null && !Array.isArray(inner)
  return {
    ...fields,
    [name]: rest.length === 0 ? value : put(isFields ? (inner as Fields) : {}, rest, value),
  }
}
