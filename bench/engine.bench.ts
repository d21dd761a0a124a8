/** What the engine itself costs: operators that do next to nothing, a durable journal on a real folder. */
import { type ChildProcess, spawn } from "node:child_process"
import { existsSync, mkdirSync, readFileSync, rmSync, statSync } from "node:fs"
import { join } from "node:path"
import { fileURLToPath } from "node:url"

import * as Effect from "effect/Effect"

import type { Measured, Task } from "./engineChild.ts"
import { lineBytes } from "./engineGraph.ts"
import type { Bench } from "./main.ts"

const main = fileURLToPath(new URL("engineChild.ts", import.meta.url))
const folder = join(process.cwd(), "out", `bench-engine-${process.pid}`)

const items = 10_000
const nodes = 5
/** What a kill may cost by construction: see Engine.ts. */
const inFlight = nodes * 256

const start = (phase: string, task: Task): ChildProcess =>
  spawn(process.execPath, ["--expose-gc", "--max-semi-space-size=8", main, phase, JSON.stringify(task)], {
    stdio: ["ignore", "pipe", "inherit"],
  })

/** Runs a phase to its end. */
const measure = <A = Measured>(phase: string, task: Task): Effect.Effect<A> =>
  Effect.callback((resume) => {
    const child = start(phase, task)
    let text = ""
    child.stdout!.on("data", (data: Buffer) => void (text += data.toString()))
    child.on("close", (code) =>
      resume(code === 0 ? Effect.succeed(JSON.parse(text) as A) : Effect.die(`${phase} ended with ${code}`)),
    )
    return Effect.sync(() => child.kill("SIGKILL"))
  })

const callsIn = (log: string): number => (existsSync(log) ? statSync(log).size / lineBytes : 0)

/** Kills a run once so many calls are in its log. */
const killAt = (task: Task & { readonly log: string }, calls: number): Effect.Effect<void> =>
  Effect.callback((resume) => {
    const child = start("run", task)
    const timer = setInterval(() => {
      if (callsIn(task.log) >= calls) child.kill("SIGKILL")
    }, 1)
    child.on("close", (_, signal) => {
      clearInterval(timer)
      resume(signal === "SIGKILL" ? Effect.void : Effect.die("the run ended before it was killed"))
    })
  })

const best = <A extends { readonly ms: number }>(effect: (round: number) => Effect.Effect<A>) =>
  Effect.map(Effect.forEach([1, 2, 3], effect), (all) => all.reduce((a, b) => (b.ms < a.ms ? b : a)))

const table = (head: ReadonlyArray<string>, rows: ReadonlyArray<ReadonlyArray<string>>): string =>
  [head, head.map(() => "---"), ...rows].map((row) => `| ${row.join(" | ")} |`).join("\n")

const count = (n: number): string => Math.round(n).toLocaleString("en-US")
const seconds = (ms: number): string => `${(ms / 1000).toFixed(2)} s`
const yes = (right: boolean): string => (right ? "yes" : "**no**")

const run = Effect.gen(function* () {
  const store = (name: string) => join(folder, name)
  const cold = yield* best((round) => measure("run", { store: store(`cold-${round}`), items }))
  const floor = yield* best((round) =>
    measure<{ readonly ms: number; readonly cpu: number }>("floor", {
      store: store(`floor-${round}.db`),
      items,
    }),
  )
  const warm = yield* best(() => measure("run", { store: store("cold-1"), items }))
  const plan = yield* best(() =>
    measure<{ readonly ms: number; readonly hits: number }>("plan", { store: store("cold-1"), items }),
  )
  const edited = yield* measure("run", { store: store("cold-1"), items, edited: true })
  const more = yield* measure("run", { store: store("cold-2"), items: items + 100 })
  const poison = yield* measure("run", { store: store("poison"), items, poison: true })

  const kills = yield* Effect.forEach([1, 2, 3], (round) =>
    Effect.gen(function* () {
      const log = store(`log-${round}`)
      const task = { store: store(`killed-${round}`), items, log }
      yield* killAt(task, 0.35 * nodes * items)
      const before = callsIn(log)
      const rerun = yield* measure("run", task)
      const lines = readFileSync(log, "latin1").trimEnd().split("\n")
      return {
        before,
        again: lines.length - new Set(lines).size,
        all: new Set(lines).size === nodes * items,
        same: rerun.outputs === cold.outputs,
      }
    }),
  )

  const sizes = yield* Effect.forEach([10_000, 50_000, 200_000], (size) =>
    Effect.map(measure("run", { store: store(`size-${size}`), items: size }), (measured) => ({
      size,
      ...measured,
    })),
  )
  const small = sizes.at(0)!
  const calls = nodes * items
  const rate = (ms: number) => `${count(calls / (ms / 1000))} calls/s`
  return [
    `${count(items)} items of about 200 bytes through ${nodes} operators that each add a field: ${count(calls)} calls, on the`,
    "engine's thread. Durable: WAL, synchronous=FULL, group commit. Each row is a process of its own; times are of",
    "the run or the plan alone, best of 3.",
    "",
    table(
      ["phase", "time", "processor time", "rate", "x floor", "hits", "calls", "as expected"],
      [
        [
          "floor: the same rows by node:sqlite alone",
          seconds(floor.ms),
          seconds(floor.cpu * 1000),
          rate(floor.ms),
          "1.00",
          "",
          "",
          "",
        ],
        [
          "cold",
          seconds(cold.ms),
          seconds(cold.cpu * 1000),
          rate(cold.ms),
          (cold.ms / floor.ms).toFixed(2),
          count(cold.hits),
          count(cold.calls),
          yes(cold.calls === calls && cold.hits === 0),
        ],
        [
          "warm",
          seconds(warm.ms),
          seconds(warm.cpu * 1000),
          rate(warm.ms),
          (warm.ms / floor.ms).toFixed(2),
          count(warm.hits),
          count(warm.calls),
          yes(warm.hits === calls && warm.outputs === cold.outputs),
        ],
        ["`Plan.make`, warm", seconds(plan.ms), "", "", "", count(plan.hits), "", yes(plan.hits === calls)],
        [
          "operator 3 edited",
          seconds(edited.ms),
          seconds(edited.cpu * 1000),
          "",
          "",
          count(edited.hits),
          count(edited.calls),
          yes(edited.hits === 2 * items && edited.calls === 3 * items),
        ],
        [
          "100 items added",
          seconds(more.ms),
          seconds(more.cpu * 1000),
          "",
          "",
          count(more.hits),
          count(more.calls),
          yes(more.calls === 500 && more.hits === calls),
        ],
        [
          `1 % poison in operator 2: ${poison.failed} failed`,
          seconds(poison.ms),
          seconds(poison.cpu * 1000),
          "",
          "",
          count(poison.hits),
          count(poison.calls),
          yes(poison.failed === items / 100 && poison.imbalances === 0),
        ],
      ],
    ),
    "",
    `Killed (SIGKILL) at about 35 % and run again. At most ${count(inFlight)} calls may be in flight by construction`,
    `(${nodes} nodes x 1 at once x 256 to a commit). Calls are counted by a file that every call appends to.`,
    "",
    table(
      [
        "calls when killed",
        "calls made twice",
        "within the bound",
        "every call made",
        "outputs identical to an uninterrupted run",
      ],
      kills.map(({ again, all, before, same }) => [
        count(before),
        count(again),
        yes(again <= inFlight),
        yes(all),
        yes(same),
      ]),
    ),
    "",
    "Memory of a cold run, in MiB (young generation bounded to 8 MiB semi-spaces, garbage collected at the end).",
    "",
    table(
      ["items", "rate", "resident at the end", "x", "resident at most", "x", "V8 heap at the end"],
      sizes.map(({ heap, ms, peak, rss, size }) => [
        count(size),
        `${count((nodes * size) / (ms / 1000))} calls/s`,
        count(rss),
        (rss / small.rss).toFixed(2),
        count(peak),
        (peak / small.peak).toFixed(2),
        heap.toFixed(1),
      ]),
    ),
  ].join("\n")
})

export const bench: Bench = {
  description: "engine overhead: cold, warm, plan, edits, kill and resume, memory (3-4 minutes)",
  run: Effect.suspend(() => {
    mkdirSync(folder, { recursive: true })
    return Effect.ensuring(
      run,
      Effect.sync(() => rmSync(folder, { recursive: true, force: true })),
    )
  }),
}
