/** A run while it is simulated: its nodes, and what there is one of for all of them. */
import type * as Profile from "../../Profile.ts"
import * as Clock from "./clock.ts"
import * as Sharing from "./sharing.ts"
import type { Outcome, SimulatedNode, Task } from "./simulatedNode.ts"
import type { SimulatedSource } from "./simulatedSource.ts"

export type Problem =
  | { readonly _tag: "Unknown"; readonly nodes: ReadonlyArray<string> }
  | { readonly _tag: "Uncounted"; readonly inputs: ReadonlyArray<string> }
  | { readonly _tag: "NotPlaced"; readonly node: string; readonly problem: string }
  | { readonly _tag: "Endless"; readonly node: string; readonly problem: string }

export interface SimulatedRun {
  readonly profile: Profile.Profile
  readonly nodes: ReadonlyArray<SimulatedNode>
  readonly sources: ReadonlyArray<SimulatedSource>
  readonly clock: Clock.Clock
  /** Seconds that the run takes at least. */
  readonly least: number
  /** Between two looks of the driver. In a run of days, those close together count as one. */
  readonly pollSeconds: number
  readonly driver: {
    /** When it is through with what it does. */
    free: number
    /** For which it has worked. */
    seconds: number
    /** Whether its next look is noted. */
    looking: boolean
    /** Results that workers have committed and it has not seen. */
    readonly committed: Map<SimulatedNode, Array<Outcome>>
  }
  /** When Slurm is through with the starts that it was asked for. */
  slurmFree: number
  /** What all workers that start at once share, and whether it is noted when the next of them are through with it. */
  readonly starts: Sharing.Sharing
  starting: boolean
  /** When the store is through with what is read and written. */
  storeFree: number
  /** When an item was passed on, or a node ended, last. */
  finish: number
  problem: Problem | undefined
  /** What a worker does when it is ready. */
  readonly ready: (node: SimulatedNode, task: Task) => void
  /** What the driver does when something has changed. */
  readonly changed: () => void
}

export interface Options extends Pick<SimulatedRun, "profile" | "nodes" | "sources" | "least"> {
  readonly ready: (run: SimulatedRun, node: SimulatedNode, task: Task) => void
  readonly changed: (run: SimulatedRun) => void
}

export const make = ({ changed, least, nodes, profile, ready, sources }: Options): SimulatedRun => {
  const { pollSeconds } = profile.overheads
  const run: SimulatedRun = {
    profile,
    nodes,
    sources,
    least,
    clock: Clock.make(),
    pollSeconds: pollSeconds === 0 ? 0 : Math.max(pollSeconds, Math.min(2, least / 100_000)),
    driver: { free: 0, seconds: 0, looking: false, committed: new Map() },
    slurmFree: 0,
    starts: Sharing.make(profile.overheads.startShareSeconds),
    starting: false,
    storeFree: 0,
    finish: 0,
    problem: undefined,
    ready: (node, task) => ready(run, node, task),
    changed: () => changed(run),
  }
  return run
}
