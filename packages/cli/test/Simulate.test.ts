/** `reel plan --simulate` from profile to report, without processes. */
import { mkdtempSync, rmSync, writeFileSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"

import { assert, describe, it } from "@effect/vitest"
import { Graph, Operator, Port } from "@reelgraph/core"
import { type Placement, Pool, Pools } from "@reelgraph/placement"
import * as Effect from "effect/Effect"
import * as Schema from "effect/Schema"

import * as Simulate from "../src/commands/Simulate.ts"
import { TerminalOutput } from "../src/TerminalOutput.ts"
import * as SimulationReport from "../src/SimulationReport.ts"

const Num = Port.make("Num", { record: Schema.Struct({ n: Schema.Int }) })

const graph = Graph.make("work", { version: "1.0.0" }, (g) => ({
  out: g.input("in", Num).pipe(
    Operator.map("slow", {
      version: "1.0.0",
      input: Num,
      output: Num,
      worker: import.meta.url,
      run: () => Effect.die("nobody runs it"),
    })(),
  ),
}))

const placement: Placement.Placement = {
  pools: Pools.make({
    pools: { cpu: Pool.slurm({ partition: "cpu", nodes: 5, cores: 2, memoryGiB: 8, pricePerNodeHour: 3 }) },
  }),
  nodes: [
    {
      node: "slow",
      operator: "slow",
      pool: "cpu",
      how: "array",
      resources: { cores: 1 },
      ranks: 1,
      perWorker: 1,
      perTask: 1,
      workers: 10,
      why: [],
    },
  ],
}

const folder = Effect.acquireRelease(
  Effect.sync(() => mkdtempSync(join(tmpdir(), "reel-simulate-"))),
  (path) => Effect.sync(() => rmSync(path, { recursive: true })),
)

/** What the command prints, with a profile of this text. */
const simulated = (name: string, profile: string, options: Partial<Simulate.Options> = {}) =>
  Effect.gen(function* () {
    const here = yield* folder
    writeFileSync(join(here, name), profile)
    const shown: Array<string> = []
    const given = {
      graph,
      placement,
      profile: join(here, name),
      items: ["in=1e3"],
      counted: {},
      store: join(here, "store"),
      seed: 0,
      json: false,
    }
    const task: Effect.Effect<void, { readonly _tag: string; readonly message: string }, any> = Simulate.run({
      ...given,
      ...options,
    })
    yield* Effect.provideService(task, TerminalOutput, {
      ...({} as typeof TerminalOutput.Service),
      print: (text) => void shown.push(text),
      show: (lines) => void shown.push(...lines),
    })
    return shown.join("\n")
  })

describe("reel plan --simulate", () => {
  it.effect("tells when a run is done, what it costs and what it waits for", () =>
    Effect.gen(function* () {
      const profile = `import { Profile } from "@reelgraph/placement"
        export default Profile.make({ currency: "USD", operators: { slow: { seconds: 36 } } })`
      const text = yield* simulated("costs.profile.ts", profile)
      // 10 hours of work on ten workers, and what tasks take to begin.
      assert.match(text, /^work@1\.0\.0, simulated: 1h 0\d/)
      assert.match(text, /cost +\d+\.\d\d USD of what workers take/)
      assert.match(text, /waits for +(a tenth more nodes in cpu|slow a tenth faster)/)
      assert.match(text, /balanced +5 nodes in cpu \(now 5\)/)
      assert.match(text, /cpu +5 +0 +cores +9\d\.\d %/)
      assert.match(text, /slow +cpu +array x 10 +1,000 +0 +0 +1,000 +10\.0 /)
    }),
  )

  it.effect("takes profiles as JSON, and gives the report as JSON", () =>
    Effect.gen(function* () {
      const text = yield* simulated("costs.json", `{"operators":{"slow":{"seconds":36}}}`, { json: true })
      const report = JSON.parse(text) as SimulationReport.SimulationReport
      assert.approximately(report.simulated.nodes[0]!.workHours, 10, 1e-9)
      assert.isDefined(report.luck)
    }),
  )

  it.effect("says what is wrong with a profile or with --items", () =>
    Effect.gen(function* () {
      const told = (...given: Parameters<typeof simulated>) =>
        Effect.map(Effect.flip(simulated(...given)), ({ message }) => message)
      const costs = `{"operators":{"slow":{"seconds":36}}}`
      assert.include(yield* told("costs.json", `{"operators":{"slow":{"keep":2}}}`), "keep")
      assert.include(
        yield* told("costs.profile.ts", "export const a = 1"),
        "exports no profile (it exports a",
      )
      assert.include(yield* told("costs.json", costs, { profile: "./no.json" }), "./no.json does not exist")
      assert.include(yield* told("costs.json", costs, { items: ["in"] }), "--items in is not of the form")
      assert.include(yield* told("costs.json", costs, { items: ["inn=1"] }), "no input inn")
      assert.include(
        yield* told("costs.json", `{"operators":{}}`),
        "the cost of slow of graph work is not known",
      )
    }),
  )
})

describe("SimulationReport", () => {
  it("draws shares as bars, and days as days", () => {
    assert.strictEqual(SimulationReport.bar([0, 0.1, 0.5, 1]), "·▁▄█")
    assert.strictEqual(SimulationReport.time(35 * 86_400 + 4 * 3600), "35d 04h")
    assert.strictEqual(SimulationReport.time(90), "1m 30s")
  })

  it("tells how good a simulation was", () => {
    const same = { foretold: 10, actual: 15, ratio: 1.5 }
    const lines = SimulationReport.scoreLines({
      seconds: same,
      work: same,
      nodes: [{ node: "slow", in: same, out: same, work: same, cached: 0 }],
      unmatched: ["other"],
    })
    assert.strictEqual(lines[0], "foretold     10.0 s; took 15.0 s: 1.50 times")
    assert.match(lines.join("\n"), /slow +15 +10 +15 +10 +15\.0 s +10\.0 s +1\.50 +0\nnot compared: other/)
  })
})
