/** A driver in a process of its own, to be killed. */
import * as Effect from "effect/Effect"

import { type Costs, everywhere, graph, remoteOf } from "./graphs.ts"

const { count, environment, keys, store, witness, ...rest } = JSON.parse(process.argv[2]!) as {
  readonly store: string
  readonly witness: string
  readonly count: number
  readonly graph: Costs
  readonly environment: Readonly<Record<string, string>>
  readonly keys?: string
}

await Effect.runPromise(
  Effect.scoped(
    remoteOf(
      { store, witness, count, graph: graph(rest.graph) },
      everywhere(),
      environment,
      keys === undefined ? {} : { keys },
    ),
  ),
)
process.exit()
