/** Keys of runs on a real Slurm: where they are seen, and what happens without them. And two drivers at once. */
import { fork } from "node:child_process"
import fs, { existsSync, readdirSync, readFileSync } from "node:fs"
import { dirname, join } from "node:path"
import { fileURLToPath } from "node:url"

import { assert, layer } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import type * as Layer from "effect/Layer"

import * as Test from "../../../test/cluster/Cluster.ts"
import * as Harness from "./graphs.ts"
import { unlessSlurm } from "./skip.ts"

const driver = fileURLToPath(new URL("./driver.ts", import.meta.url))

/** Waits until so many calls of an operator have ended. */
const witnessed = (at: string, operator: string, count: number) =>
  Effect.gen(function* () {
    const seen = () =>
      existsSync(join(at, "witness.ndjson"))
        ? Harness.witnesses(at).filter((one) => one.operator === operator).length
        : 0
    while (seen() < count) yield* Effect.sleep(100)
  })

/** The key that is in a folder of keys: that of the one run there is. */
const keyIn = (folder: string): string => {
  const [file] = readdirSync(folder)
  return (JSON.parse(readFileSync(join(folder, file!), "utf8")) as { readonly key: string }).key
}

/** Files below a folder in which a text stands. */
const filesWith = (folder: string, text: string): ReadonlyArray<string> =>
  readdirSync(folder, { recursive: true, withFileTypes: true })
    .filter((entry) => entry.isFile())
    .map((entry) => join(entry.parentPath, entry.name))
    .filter((file) => readFileSync(file).includes(text))

/** What all processes of this machine were started with. */
const commandLines = (): ReadonlyArray<string> =>
  readdirSync("/proc")
    .filter((name) => /^\d+$/u.test(name))
    .flatMap((pid) => {
      try {
        return [readFileSync(`/proc/${pid}/cmdline`, "utf8")]
      } catch {
        return []
      }
    })

/** A driver in a process of its own that is at work. */
const begun = (there: { readonly store: string; readonly witness: string }, keys: string, count: number) =>
  Effect.gen(function* () {
    const { environment } = yield* Test.Cluster
    const options = { ...there, count, keys, graph: { double: 0, paint: 2000 }, environment }
    const first = yield* Effect.acquireRelease(
      Effect.sync(() => fork(driver, [JSON.stringify(options)], { stdio: "ignore" })),
      (child) => Effect.sync(() => child.kill("SIGKILL")),
    )
    const gone = new Promise((resolve) => first.once("exit", resolve))
    yield* witnessed(there.witness, "paint", 2)
    return { first, gone: Effect.promise(() => gone) }
  })

unlessSlurm("Keys of runs", () => {
  layer(Test.layer({ gpuNodes: 2, cpuNodes: 2 }) as Layer.Layer<Test.Cluster>, {
    timeout: 60_000,
    excludeTestServices: true,
  })((it) => {
    it.effect(
      "are in no store, log, argument or description of a job, and go with their run",
      () =>
        Effect.scoped(
          Effect.gen(function* () {
            const { run } = yield* Test.Cluster
            const there = yield* Harness.folder
            const keys = join(dirname(there.store), "keys")
            const running = yield* Effect.forkChild(
              Harness.remote(
                { ...there, count: 20, graph: Harness.graph({ double: 0, paint: 1500 }) },
                Harness.everywhere(),
                { keys },
              ),
            )
            yield* Effect.raceFirst(witnessed(there.witness, "paint", 2), Effect.asVoid(Fiber.join(running)))
            const key = keyIn(keys)
            assert.match(key, /^[0-9a-f]{64}$/u)
            assert.notInclude(yield* run("scontrol", "--details", "show", "job"), key)
            assert.notInclude(yield* run("squeue", "--json"), key)
            assert.deepStrictEqual(
              commandLines().filter((line) => line.includes(key)),
              [],
            )
            assert.deepStrictEqual(filesWith(there.store, key), [])
            // Something was sealed with it.
            assert.isAtLeast(filesWith(join(there.store, "objects"), "reelgraph-seal-1 ").length, 1)
            const { places } = yield* Fiber.join(running)
            assert.notInclude(places.join(), key)
            assert.deepStrictEqual(filesWith(there.store, key), [])
            assert.deepStrictEqual(filesWith(there.witness, key), [])
            assert.deepStrictEqual(readdirSync(keys), [])
          }),
        ),
      120_000,
    )

    it.effect(
      "are not with whoever follows: nothing is taken over, all is made again, and the report says why",
      () =>
        Effect.scoped(
          Effect.gen(function* () {
            const here = yield* Harness.folder
            const there = yield* Harness.folder
            const keys = join(dirname(there.store), "keys")
            const count = 16
            const expected = yield* Harness.local({ store: here.store, count })
            const { first, gone } = yield* begun(there, keys, count)
            first.kill("SIGKILL")
            yield* gone
            fs.rmSync(keys, { recursive: true })
            const graph = Harness.graph({ double: 0, paint: 2000 })
            const found = yield* Harness.remote({ ...there, count, graph }, Harness.everywhere(), { keys })
            assert.deepStrictEqual(found.outputs, expected.outputs)
            assert.strictEqual(found.ledger, expected.ledger)
            const told = found.report.warnings.join("\n")
            assert.match(
              told,
              /not taken over, since the key of its run is not with this user on this machine/,
            )
            assert.notMatch(told, /were taken over: /)
          }),
        ),
      240_000,
    )

    it.effect(
      "of two drivers of one graph at once: the second says so",
      () =>
        Effect.scoped(
          Effect.gen(function* () {
            const there = yield* Harness.folder
            const keys = join(dirname(there.store), "keys")
            const { first } = yield* begun(there, keys, 16)
            const graph = Harness.graph({ double: 0, paint: 0 })
            const found = yield* Harness.remote({ ...there, count: 4, graph }, Harness.everywhere(), { keys })
            const pattern = new RegExp(
              `another driver of cluster-test is at work on this store \\(process ${first.pid} on `,
              "u",
            )
            assert.match(found.report.warnings.join("\n"), pattern)
          }),
        ),
      240_000,
    )
  })
})
