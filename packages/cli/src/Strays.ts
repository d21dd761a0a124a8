/**
 * What operators leave behind in this process: errors that are thrown, or promises that are rejected, when no call is
 * there to fail. The run that goes on ends with them, as failed; a command without one ends at once.
 */
import * as RunError from "@reelgraph/engine/RunError"
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"

export type How = RunError.OperatorStray["how"]

type Resume = (effect: Effect.Effect<never, RunError.OperatorStray>) => void

interface Run {
  readonly nodes: () => ReadonlyArray<string>
  readonly resume: Resume
}

export const Strays = Context.Reference<{
  /** Fails with the first stray from now on, which may be of one of these nodes. */
  readonly of: (nodes: () => ReadonlyArray<string>) => Effect.Effect<never, RunError.OperatorStray>
  /** Fails with the first stray when no run is there to end with it. */
  readonly otherwise: Effect.Effect<never, RunError.OperatorStray>
  readonly report: (cause: unknown, how: How) => void
  /** Nodes that have made calls in this process: those of whom a stray may be. */
  readonly nodes: () => ReadonlyArray<string>
}>("reelgraph/cli/Strays", {
  defaultValue: () => ({
    of: () => Effect.never,
    otherwise: Effect.never,
    report: () => {},
    nodes: () => [],
  }),
})

const problemOf = (cause: unknown): string => {
  try {
    if (!(cause instanceof Error)) return String(cause)
    // Where it was thrown is what leads to the operator.
    const [, frame = ""] = (cause.stack ?? "").split("\n    at ")
    return `${cause.name}: ${cause.message}${frame === "" ? "" : ` (at ${frame.trim()})`}`
  } catch {
    // Reading a value of others may throw.
    return "a value that cannot be shown"
  }
}

export const make = (): typeof Strays.Service => {
  const runs = new Set<Run>()
  const others = new Set<Resume>()
  let last: Run["nodes"] = () => []
  const wait = (into: (resume: Resume) => () => void) =>
    Effect.callback<never, RunError.OperatorStray>((resume) => {
      const leave = into(resume)
      return Effect.sync(leave)
    })
  return {
    of: (nodes) =>
      wait((resume) => {
        const run = { nodes, resume }
        last = nodes
        runs.add(run)
        return () => void runs.delete(run)
      }),
    otherwise: wait((resume) => {
      others.add(resume)
      return () => void others.delete(resume)
    }),
    report: (cause, how) => {
      const problem = problemOf(cause)
      for (const { nodes, resume } of runs)
        resume(Effect.fail(new RunError.OperatorStray({ how, nodes: nodes(), problem })))
      if (runs.size > 0) return
      for (const resume of others)
        resume(Effect.fail(new RunError.OperatorStray({ how, nodes: last(), problem })))
    },
    nodes: () => last(),
  }
}
