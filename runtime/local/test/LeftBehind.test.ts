/** What operators leave behind: processes in the group of their worker and out of it, with its pipes and without. */
import { spawn } from "node:child_process"
import fs from "node:fs"
import os from "node:os"
import { join } from "node:path"
import { fileURLToPath } from "node:url"

import { assert, describe, it } from "@effect/vitest"
import { Graph } from "@reelgraph/core"
import { Failure } from "@reelgraph/call"
import { Engine } from "@reelgraph/engine"
import { Journal, StoreFs } from "@reelgraph/store"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Stream from "effect/Stream"

import { Environment, LocalWorkers } from "../src/index.ts"
import * as OperatorModule from "../src/internal/operatorModule.ts"
import { Names, Num } from "./operators.ts"

const temporary = Effect.acquireRelease(
  Effect.sync(() => fs.mkdtempSync(join(os.tmpdir(), "reelgraph-left-"))),
  (path) => Effect.sync(() => fs.rmSync(path, { recursive: true, force: true })),
)

const alive = (pid: number): boolean => {
  try {
    process.kill(pid, 0)
    // A zombie that nobody has waited for yet is as good as gone.
    return process.platform !== "linux" || !fs.readFileSync(`/proc/${pid}/stat`, "utf8").includes(") Z ")
  } catch {
    return false
  }
}

const until = (condition: () => boolean, ms: number) =>
  Effect.gen(function* () {
    for (let waited = 0; waited < ms && !condition(); waited += 20) yield* Effect.sleep(20)
    return condition()
  })

const main = fileURLToPath(new URL("./leaving.ts", import.meta.url))

/** A driver that leaves processes behind, with those by kind once all of them have begun. */
const leaving = (how: "end" | "hang" | "exit") =>
  Effect.gen(function* () {
    const folder = yield* temporary
    const log = join(folder, "log")
    const lines = () =>
      fs.existsSync(log)
        ? fs
            .readFileSync(log, "utf8")
            .trim()
            .split("\n")
            .map((line) => line.split(" ") as [string, string])
        : []
    const driver = yield* Effect.acquireRelease(
      Effect.sync(() =>
        spawn(process.execPath, [main, join(folder, "store"), log, how], { stdio: "ignore" }),
      ),
      (child) =>
        Effect.sync(() => {
          child.kill("SIGKILL")
          for (const [, pid] of lines()) if (alive(Number(pid))) process.kill(Number(pid), "SIGKILL")
        }),
    )
    const ended = { is: false }
    driver.once("exit", () => void (ended.is = true))
    assert.isTrue(yield* until(() => lines().length === 5, 60_000))
    const living = () =>
      lines()
        .filter(([, pid]) => alive(Number(pid)))
        .map(([kind]) => kind)
    return { driver, ended, living }
  })

// Processes out of a group are found by /proc.
const linux = process.platform === "linux"

describe.skipIf(!linux)("What operators leave behind", { timeout: 120_000 }, () => {
  it.live("is ended with the run, and keeps its driver from nothing", () =>
    Effect.gen(function* () {
      const { ended, living } = yield* leaving("end")
      assert.isTrue(yield* until(() => ended.is, 60_000), "the driver does not end")
      assert.isTrue(yield* until(() => living().length === 0, 10_000), living().join())
    }),
  )

  it.live("is ended with a worker that took too long", () =>
    Effect.gen(function* () {
      const { driver, ended, living } = yield* leaving("hang")
      // The driver lives until the run has ended: nothing is left by then.
      assert.isTrue(yield* until(() => ended.is, 60_000))
      assert.strictEqual(driver.exitCode, 0)
      assert.deepStrictEqual(living(), [])
    }),
  )

  it.live("does not keep the driver when its worker has ended by itself; what is in its group is ended", () =>
    Effect.gen(function* () {
      const { ended, living } = yield* leaving("exit")
      assert.isTrue(yield* until(() => ended.is, 60_000), "the driver does not end")
      // Nobody can tell any more whose those are that left the group before.
      assert.isTrue(yield* until(() => living().every((kind) => kind === "detached"), 10_000))
    }),
  )

  it.live("is ended when the driver is interrupted, as by Ctrl-C in a terminal", () =>
    Effect.gen(function* () {
      const { driver, ended, living } = yield* leaving("hang")
      driver.kill("SIGINT")
      assert.isTrue(yield* until(() => ended.is, 20_000))
      assert.deepStrictEqual(living(), [])
    }),
  )

  it.live("is ended when the driver is killed", () =>
    Effect.gen(function* () {
      const { driver, living } = yield* leaving("hang")
      driver.kill("SIGKILL")
      assert.isTrue(yield* until(() => living().length === 0, 10_000), living().join())
    }),
  )
})

describe("The environment of calls", () => {
  const open =
    "PATH HOME LC_ALL NODE_OPTIONS CUDA_VISIBLE_DEVICES SLURM_JOB_ID REEL_CACHE https_proxy LD_LIBRARY_PATH"
  const closed =
    "AWS_SECRET_ACCESS_KEY GITHUB_TOKEN HF_TOKEN WANDB_API_KEY WANDB_DIR REELGRAPH_RUN_KEY SLURM_JWT MY_PATH"
  const driver = {
    ...Object.fromEntries(open.split(" ").map((name) => [name, "o"])),
    ...Object.fromEntries(closed.split(" ").map((name) => [name, "s"])),
    absent: undefined,
  }
  const secrets = (store: string, more?: string) =>
    Object.entries(Environment.passed({ ...driver, [Environment.moreVariable]: more }, store))
      .filter(([, value]) => value === "s")
      .map(([name]) => name)

  it("is what programs and stores need, and what is named beside it", () => {
    const passed = Environment.passed(driver, "/store")
    assert.deepStrictEqual(Object.keys(passed), open.split(" "))
    assert.deepStrictEqual(secrets("/store"), [])
    assert.deepStrictEqual(secrets("s3://bucket/prefix"), ["AWS_SECRET_ACCESS_KEY"])
    assert.deepStrictEqual(secrets("/store", "HF_TOKEN, WANDB_*"), ["HF_TOKEN", "WANDB_API_KEY", "WANDB_DIR"])
    // The key of a run goes to no call, whoever names it.
    assert.notInclude(secrets("/store", "REELGRAPH_*,REELGRAPH_RUN_KEY"), "REELGRAPH_RUN_KEY")
  })

  it.live(
    "of a worker process has no secrets of its driver",
    () =>
      Effect.gen(function* () {
        const store = yield* temporary
        // oxlint-disable-next-line node/no-process-env -- what a driver has that its workers are not given
        Object.assign(process.env, { TEST_OWN_TOKEN: "secret", AWS_SESSION_TOKEN: "secret" })
        const graph = Graph.make("g", { version: "1.0.0" }, (g) => ({
          out: g.input("in", Num).pipe(Names()),
        }))
        const names = yield* Effect.gen(function* () {
          const report = yield* Engine.run(graph, { in: Stream.make({ n: 1 }) })
          const journal = yield* Journal
          return journal
            .runItems(journal.run(report.run)!.id, "out:out")
            .map((item) => JSON.parse(journal.item(item)!.record).name as string)
        }).pipe(
          Effect.provide(
            Layer.mergeAll(StoreFs.layer(store, { durability: "none" }), LocalWorkers.layer({ store })),
          ),
        )
        assert.include(names, "PATH")
        assert.notInclude(names, "TEST_OWN_TOKEN")
        assert.notInclude(names, "AWS_SESSION_TOKEN")
      }),
    60_000,
  )
})

describe("Modules of operators", () => {
  it.live("are files: what carries its code in its name is refused", () =>
    Effect.gen(function* () {
      const folder = fs.realpathSync(yield* temporary)
      const file = join(folder, "op.ts")
      fs.writeFileSync(file, "")
      fs.symlinkSync(file, join(folder, "link.ts"))
      const of = (module: string) => Effect.result(OperatorModule.urlOf("op", module))
      for (const module of [
        "data:text/javascript,process.exit(1)",
        "node:child_process",
        "https://example.org/op.js",
        "child_process",
        file,
        `file://${folder}/gone.ts`,
        `file://${folder}`,
        "file://elsewhere/op.ts",
        "",
      ]) {
        const refused = yield* of(module)
        assert.strictEqual(refused._tag, "Failure", module)
        if (refused._tag === "Failure") {
          assert.strictEqual(Failure.fromError(refused.failure).tag, "ModuleRefused")
          assert.match(refused.failure.message, /let its `worker` be import\.meta\.url/u)
        }
      }
      for (const module of [`file://${file}`, `file://${folder}/link.ts`]) {
        const admitted = yield* of(module)
        assert.strictEqual(admitted._tag === "Success" ? admitted.success : "", `file://${file}`)
      }
    }),
  )
})
