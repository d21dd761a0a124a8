/**
 * Killing a curate run at some instant, running it again, and looking at what is there. Used by the test of
 * durability and by `bench/kills.ts`.
 */
import { execFileSync, spawn } from "node:child_process"
import { readdirSync } from "node:fs"
import { copyFile, mkdir } from "node:fs/promises"
import { join } from "node:path"
import { setTimeout as sleep } from "node:timers/promises"
import { fileURLToPath } from "node:url"

import { Graph, Ledger } from "@reelgraph/core"
import { curate } from "@reelgraph/graphs/curate"
import * as SampleCorpus from "@reelgraph/media/SampleCorpus"
import { artifactsIn, BlobStore, Journal } from "@reelgraph/store"
import * as Effect from "effect/Effect"
import * as Stream from "effect/Stream"

import { type Curation, curateFolder, digests, fates, storeAndWorkers } from "./curation.ts"

const driver = fileURLToPath(new URL("./curating.ts", import.meta.url))

/** Files of the sample corpus that take every way through the graph and little time: two clips in all. */
const small = ["journey-copy.mp4", "journey.mp4", "notes.mp4", "short.mp4", "still.mp4", "truncated.mp4"]

/** `curate` with an encoder in a hurry. */
export const hurried = Graph.configure(curate, { standardize: { preset: "ultrafast" } })

/** A few files of the sample corpus, rendered into `folder`. */
export const smallCorpus = Effect.fn("smallCorpus")(function* (folder: string) {
  const all = join(folder, "all")
  const videos = join(folder, "videos")
  yield* SampleCorpus.render(all)
  yield* Effect.promise(() => mkdir(videos, { recursive: true }))
  yield* Effect.forEach(small, (name) => Effect.promise(() => copyFile(join(all, name), join(videos, name))))
  return videos
})

/** What became of a driver. */
export interface Driven {
  /** True when it was killed, false when it ended before that. */
  readonly killed: boolean
  /** Milliseconds from the beginning of the run to its end. */
  readonly ms: number
  /** Its worker processes that were there when it was killed. */
  readonly workers: ReadonlyArray<number>
}

/** Process ids of the children of a process. */
const childrenOf = (pid: number): ReadonlyArray<number> =>
  execFileSync("ps", ["-A", "-o", "pid=,ppid="], { encoding: "utf8" })
    .split("\n")
    .map((line) => line.trim().split(/\s+/).map(Number))
    .filter(([, parent]) => parent === pid)
    .map(([child]) => child!)

/** Runs a driver, and kills it `afterMs` after its run has begun. */
export const drive = (folder: string, store: string, afterMs = Number.POSITIVE_INFINITY) =>
  Effect.promise(
    () =>
      new Promise<Driven>((resolve, reject) => {
        const child = spawn(process.execPath, [driver, folder, store], {
          stdio: ["ignore", "pipe", "inherit"],
        })
        let begun = 0
        let workers: ReadonlyArray<number> = []
        let timer: NodeJS.Timeout | undefined
        child.stdout.once("data", () => {
          begun = performance.now()
          if (afterMs === Number.POSITIVE_INFINITY) return
          timer = setTimeout(() => {
            workers = childrenOf(child.pid!)
            child.kill("SIGKILL")
          }, afterMs)
        })
        child.stdout.resume()
        child.once("error", reject)
        child.once("exit", (code, signal) => {
          clearTimeout(timer)
          if (signal === null && code !== 0) reject(new Error(`the driver ended with ${code}`))
          else resolve({ killed: signal === "SIGKILL", ms: performance.now() - begun, workers })
        })
      }),
  )

const isAlive = (pid: number): boolean => {
  try {
    process.kill(pid, 0)
    return true
  } catch {
    return false
  }
}

/** Those of the processes that are alive after a minute, which is longer than the busiest machine takes to end them. */
const survivors = (pids: ReadonlyArray<number>) =>
  Effect.promise(async () => {
    for (let waits = 0; waits < 1200 && pids.some(isAlive); waits++) await sleep(50)
    return pids.filter(isAlive)
  })

/** Calls that a journal has for everything that ever came in, by operator, and the blobs that results name. */
const committed = Effect.fn("committed")(function* () {
  const journal = yield* Journal
  const calls = new Map<number, string>()
  const blobs = new Set<string>()
  const todo = journal.runs().flatMap(({ id }) => journal.runItems(id, "in:videos"))
  const seen = new Set<number>()
  while (todo.length > 0) {
    const item = todo.pop()!
    if (seen.has(item)) continue
    seen.add(item)
    for (const { sha256 } of artifactsIn(JSON.parse(journal.item(item)!.record))) blobs.add(sha256)
    for (const step of journal.consumers(item)) {
      calls.set(step.call, step.operator.name)
      todo.push(...step.outputs)
    }
  }
  const byOperator: Record<string, number> = {}
  for (const name of calls.values()) byOperator[name] = (byOperator[name] ?? 0) + 1
  return { byOperator, blobs: [...blobs] }
})

/** One kill and the run after it. Empty lists and true are how it should be. */
export interface Trial {
  readonly afterMs: number
  readonly killed: boolean
  /** Results committed when the process was killed, and what of it the next run made again, by operator. */
  readonly committed: Readonly<Record<string, number>>
  readonly madeAgain: ReadonlyArray<string>
  readonly survivors: ReadonlyArray<number>
  readonly leftInTmp: ReadonlyArray<string>
  /** Blobs that results name and that are missing or damaged. */
  readonly lostBlobs: ReadonlyArray<string>
  /** Blobs in the store that are damaged. */
  readonly damagedBlobs: ReadonlyArray<string>
  readonly imbalances: ReadonlyArray<string>
  readonly sameClips: boolean
  readonly sameFates: boolean
  readonly repeatedOutputs: number
}

/** Kills a run in a new store, runs again to the end, and compares with a run that nobody disturbed. */
export const killTrial = Effect.fn("killTrial")(function* (
  folder: string,
  store: string,
  afterMs: number,
  undisturbed: Curation,
) {
  const { killed, workers } = yield* drive(folder, store, afterMs)
  const alive = yield* survivors(workers)
  return yield* Effect.gen(function* () {
    const leftInTmp = readdirSync(join(store, "tmp"))
    const before = yield* committed()
    const again = yield* curateFolder(folder, hurried)
    const after = yield* committed()
    const blobs = yield* BlobStore
    const isDamaged = (sha256: string) =>
      Effect.match(blobs.verify({ sha256 }), { onFailure: () => true, onSuccess: () => false })
    const stored = yield* Stream.runCollect(blobs.list())
    const ids = again.clips.map(({ clip, window }) => `${clip.sha256} ${window.startSeconds}`)
    return {
      afterMs: Math.round(afterMs),
      killed,
      committed: before.byOperator,
      // What worker processes made; the rest takes microseconds and is committed in chunks.
      madeAgain: ["probe", "measure", "standardize"].filter(
        (node) => again.report.ledger[node]!.cached !== (before.byOperator[node] ?? 0),
      ),
      survivors: alive,
      leftInTmp,
      lostBlobs: yield* Effect.filter(after.blobs, isDamaged),
      damagedBlobs: yield* Effect.filter(
        stored.map(({ sha256 }) => sha256),
        isDamaged,
      ),
      imbalances: Ledger.imbalances(again.report.ledger),
      sameClips: digests(again).join("\n") === digests(undisturbed).join("\n"),
      sameFates: fates(again).join("\n") === fates(undisturbed).join("\n"),
      repeatedOutputs: ids.length - new Set(ids).size,
    } satisfies Trial
  }).pipe(Effect.provide(storeAndWorkers(store)))
})

/** Everything that is not as it should be in a trial, in words. */
export const faults = (trial: Trial): ReadonlyArray<string> => [
  ...trial.madeAgain.map((node) => `${node} made a committed result again`),
  ...trial.survivors.map((pid) => `worker ${pid} lives on`),
  ...trial.leftInTmp.map((name) => `tmp/${name} is left`),
  ...trial.lostBlobs.map((sha256) => `blob ${sha256} is lost`),
  ...trial.damagedBlobs.map((sha256) => `blob ${sha256} is damaged`),
  ...trial.imbalances,
  ...(trial.sameClips ? [] : ["other clips"]),
  ...(trial.sameFates ? [] : ["other fates"]),
  ...(trial.repeatedOutputs === 0 ? [] : [`${trial.repeatedOutputs} clips twice`]),
]
