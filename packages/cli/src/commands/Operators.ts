/** `reel operators`: the operators of this installation or of a graph, with their ports, params and resources. */
import { type Port, Tensor } from "@reelgraph/core"
import * as Effect from "effect/Effect"

import * as Format from "../Format.ts"
import * as GraphSource from "../GraphSource.ts"
import * as Installed from "../Installed.ts"
import * as ParamDoc from "../ParamDoc.ts"
import { TerminalOutput } from "../TerminalOutput.ts"
import type { Task } from "../Task.ts"
import { OperatorUnknown } from "../UsageError.ts"

export interface Options {
  /** Name of an operator, or a graph. */
  readonly of: string | undefined
  readonly json: boolean
}

export const run: (options: Options) => Task = Effect.fn("reel.operators")(function* (options: Options) {
  const screen = yield* TerminalOutput
  const found = yield* select(options.of)
  if (options.json) screen.print(JSON.stringify(found.map(toJson), null, 2))
  else screen.show(found.flatMap((one, position) => [...(position === 0 ? [] : [""]), ...lines(one)]))
})

const select = Effect.fnUntraced(function* (of: string | undefined) {
  const installed = yield* Installed.operators
  if (of === undefined) return installed
  const named = installed.filter(
    ({ family, operator }) =>
      operator.name === of || `${operator.name}@${operator.version}` === of || family === of,
  )
  if (named.length > 0) return named
  const known = installed.map(({ operator }) => operator.name)
  const { graph } = yield* GraphSource.find(of).pipe(
    Effect.catchTag("GraphUnknown", () => Effect.fail(new OperatorUnknown({ name: of, known }))),
  )
  const used = new Map(graph.nodes.map(({ operator }) => [`${operator.name}@${operator.version}`, operator]))
  return [...used.values()].map((operator) => ({ family: graph.name, operator }))
})

const portJson = (port: Port.Any) => ({ port: port.name, tensors: port.tensors })

const toJson = ({ family, operator }: Installed.InstalledOperator) => ({
  name: operator.name,
  version: operator.version,
  family,
  description: operator.description,
  cardinality: operator.cardinality,
  takes: portJson(operator.input),
  sides: Object.fromEntries(
    Object.entries(operator.sides).map(([side, { mode, port }]) => [side, { mode, ...portJson(port) }]),
  ),
  gives: operator.output === undefined ? null : portJson(operator.output),
  params: ParamDoc.describe(operator),
  resources: operator.resources,
  worker: operator.worker !== undefined,
  seeded: operator.seeded,
  ...(operator.timeoutMs === undefined ? {} : { timeoutMs: operator.timeoutMs }),
  retries: operator.retries,
  ...(operator.batchSize > 1 ? { batchSize: operator.batchSize } : {}),
})

const portText = (port: Port.Any): string => {
  const tensors = Object.entries(port.tensors).map(([name, tensor]) => `${name}: ${Tensor.show(tensor)}`)
  return `${port.name}${tensors.length === 0 ? "" : ` (${tensors.join("; ")})`}`
}

const lines = ({ family, operator }: Installed.InstalledOperator): ReadonlyArray<string> => {
  const how = [
    operator.cardinality === "batch" ? `batch of ${operator.batchSize}` : operator.cardinality,
    Format.resources(operator.resources),
    ...(operator.worker === undefined ? [] : ["in a worker process"]),
    ...(operator.timeoutMs === undefined ? [] : [`at most ${Format.duration(operator.timeoutMs)}`]),
    ...(operator.seeded ? ["random by seed"] : []),
  ]
  const params = ParamDoc.describe(operator).map((param) => [
    `    ${param.name}`,
    param.type,
    param.required
      ? "required"
      : param.default === undefined
        ? "optional"
        : `default ${JSON.stringify(param.default)}`,
    param.description ?? "",
  ])
  return [
    `${operator.name}@${operator.version}  [${family}]  ${how.join(", ")}`,
    ...(operator.description === "" ? [] : [`  ${Format.line(operator.description)}`]),
    `  takes ${portText(operator.input)}`,
    ...Object.entries(operator.sides).map(
      ([side, { mode, port }]) => `  beside ${side}: ${mode === "one" ? "one" : "all of"} ${portText(port)}`,
    ),
    `  gives ${operator.output === undefined ? "what it takes" : portText(operator.output)}`,
    ...(params.length === 0 ? [] : ["  params", ...Format.table(["", "", "", ""], params).slice(1)]),
  ]
}
