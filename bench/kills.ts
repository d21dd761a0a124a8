/**
 * What SIGKILL at random instants costs a curate run: for each kill a new store, a driver process that is killed,
 * a second run to the end, and a comparison with a run that nobody disturbed. Prints Markdown.
 *
 *     node bench/kills.ts [kills]
 *
 * Exits with 1 when anything is not as it should be.
 */
import { cpus } from "node:os"
import { join } from "node:path"

import * as Effect from "effect/Effect"
import * as Random from "effect/Random"

import { curateFolder, storeAndWorkers, temporaryFolder } from "../test/curation.ts"
import { drive, faults, hurried, killTrial, smallCorpus, type Trial } from "../test/kills.ts"

const kills = Number(process.argv[2] ?? 50)

const sum = (counts: ReadonlyArray<number>): number => counts.reduce((a, b) => a + b, 0)

const report = (trials: ReadonlyArray<Trial>, ms: number): string => {
  const killed = trials.filter((trial) => trial.killed)
  const committed = killed.map((trial) => sum(Object.values(trial.committed)))
  const clips = killed.map((trial) => trial.committed["standardize"] ?? 0)
  const bad = trials.flatMap((trial) =>
    faults(trial).map((fault) => `killed after ${trial.afterMs} ms: ${fault}`),
  )
  const rows: ReadonlyArray<readonly [what: string, count: number | string]> = [
    ["runs killed while they worked", killed.length],
    [
      "kills between (ms after the run began)",
      `${Math.min(...killed.map((t) => t.afterMs))} to ${Math.max(...killed.map((t) => t.afterMs))}`,
    ],
    ["an undisturbed run takes, ms", Math.round(ms)],
    [
      "results committed at the kill, least to most",
      `${Math.min(...committed)} to ${Math.max(...committed)}`,
    ],
    [
      "killed with 0, 1, 2 clips made",
      [0, 1, 2].map((n) => clips.filter((count) => count === n).length).join(", "),
    ],
    ["runs that end with other clips", trials.filter((trial) => !trial.sameClips).length],
    ["runs in which a file has another fate", trials.filter((trial) => !trial.sameFates).length],
    ["committed results made again", sum(trials.map((trial) => trial.madeAgain.length))],
    [
      "blobs that a result names and that are missing or damaged",
      sum(trials.map((trial) => trial.lostBlobs.length)),
    ],
    ["damaged blobs in the store", sum(trials.map((trial) => trial.damagedBlobs.length))],
    ["clips given twice", sum(trials.map((trial) => trial.repeatedOutputs))],
    ["ledgers that do not add up", sum(trials.map((trial) => trial.imbalances.length))],
    ["worker processes alive 5 s after the kill", sum(trials.map((trial) => trial.survivors.length))],
    [
      "files left in tmp/ after the store was opened again",
      sum(trials.map((trial) => trial.leftInTmp.length)),
    ],
  ]
  return [
    "# kill -9 at random instants\n",
    `${new Date().toISOString().slice(0, 10)}, ${cpus().length} x ${cpus()[0]?.model.trim()}, Node ${process.version}, \`node bench/kills.ts ${kills}\`\n`,
    "Each time a new store, a driver process that is killed, and a second run to the end. Six files, two clips.\n",
    "| | |\n|---|---|",
    ...rows.map(([what, count]) => `| ${what} | ${count} |`),
    ...(bad.length === 0 ? [] : ["", ...bad.map((line) => `- ${line}`)]),
  ].join("\n")
}

await Effect.runPromise(
  Effect.gen(function* () {
    const folder = yield* temporaryFolder
    const videos = yield* smallCorpus(folder)
    const first = join(folder, "undisturbed")
    const { ms } = yield* drive(videos, first)
    const undisturbed = yield* Effect.provide(curateFolder(videos, hurried), storeAndWorkers(first))
    const trials: Array<Trial> = []
    for (let kill = 0; kill < kills; kill++) {
      const afterMs = ((kill + (yield* Random.next)) / kills) * ms
      const trial = yield* killTrial(videos, join(folder, `kill-${kill}`), afterMs, undisturbed)
      trials.push(trial)
      console.error(
        `${kill + 1}/${kills}`,
        trial.afterMs,
        JSON.stringify(trial.committed),
        faults(trial).join("; "),
      )
    }
    console.log(report(trials, ms))
    if (trials.some((trial) => faults(trial).length > 0)) process.exitCode = 1
  }).pipe(Effect.scoped, Random.withSeed("kills")),
)
