/** Where calls that block or may crash run: processes that can be killed. The local runtime gives the layer. */
import * as Context from "effect/Context"
import type * as Effect from "effect/Effect"

import type { Graph, Progress, Resources } from "@reelgraph/core"

import type { Failure } from "./Failure.ts"
import type { Job, Outcome } from "./Invocation.ts"

/** What one call of a node occupies in these workers. */
export const resourcesOf = (
  { resources }: typeof Workers.Service,
  { id, operator }: Graph.Placed,
): Resources.Resources => resources?.(id) ?? operator.resources

export class Workers extends Context.Service<
  Workers,
  {
    /** What calls share. */
    readonly capacity: Resources.Capacity
    /** What one call of a node occupies, where a person has said so; otherwise it is what its operator asks for. */
    readonly resources?: (node: string) => Resources.Resources | undefined
    /**
     * Makes a call in a worker process. Interrupting it kills the worker. Calls of a higher `priority` (further
     * down the graph) go first when cores are short. `started` is called when the operator begins: waiting for
     * cores and for a process is not part of what the call takes, nor of its `timeoutMs`. `report` is given what
     * the operator reports of its progress: the latest, a few times a second.
     */
    readonly call: (
      job: Job,
      resources: Resources.Resources,
      priority: number,
      started: () => void,
      report: (progress: Progress.Progress) => void,
    ) => Effect.Effect<ReadonlyArray<Outcome>, Failure>
  }
>()("reelgraph/engine/Workers") {}
