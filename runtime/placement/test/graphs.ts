/** Graphs of operators that only ask for something, for placing. */
import { Graph, Operator, Port } from "@reelgraph/core"
import type { Resources } from "@reelgraph/core"
import * as Effect from "effect/Effect"
import * as Schema from "effect/Schema"

const Item = Port.make("Item", { record: Schema.Struct({ id: Schema.String }) })

export interface Asks {
  readonly resources?: Resources.Resources
  /** @default true */
  readonly worker?: boolean
  readonly retries?: number
  readonly concurrency?: number
  readonly timeoutMs?: number
}

/** A chain of operators with these names. */
export const chain = (operators: { readonly [name: string]: Asks }): Graph.Graph =>
  Graph.make("test", { version: "1.0.0" }, (g) => {
    const nodes = Object.entries(operators).map(([name, { worker = true, ...asks }]) =>
      Operator.map(name, {
        version: "1.0.0",
        input: Item,
        output: Item,
        run: (item) => Effect.succeed(item),
        ...(worker ? { worker: import.meta.url } : {}),
        ...asks,
      })(),
    )
    return { out: (g.input("in", Item) as any).pipe(...nodes) }
  })
