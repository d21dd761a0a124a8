/** How a run ends when an operator in its process does not behave: with its report, a code that is not 0, and a name. */
import { spawn, spawnSync } from "node:child_process"
import { existsSync, mkdirSync, writeFileSync } from "node:fs"
import { join } from "node:path"
import { fileURLToPath } from "node:url"

import { assert, describe, it } from "@effect/vitest"
import * as Effect from "effect/Effect"

import { bin, type Ended, folder, reel, spawned } from "./reel.ts"

const unruly = fileURLToPath(new URL("graphs/unruly.graph.ts", import.meta.url))
const lingering = fileURLToPath(new URL("graphs/lingering.graph.ts", import.meta.url))

interface Run {
  readonly status: string
  readonly problem?: string
  readonly ledger: { readonly [node: string]: { readonly kept: number; readonly failed: number } }
  readonly failed: ReadonlyArray<{ readonly node: string; readonly detail: string }>
}

const args = (how: string, log: string) => [
  "run",
  unruly,
  "--input",
  "-",
  "--set",
  `unruly.how=${how}`,
  "--set",
  `unruly.log=${JSON.stringify(log)}`,
  "--json",
]

/** Runs the graph on 0, which is kept, and 1, with which it misbehaves. */
const misbehaving = (here: string, how: string, options: Parameters<typeof spawned>[2] = {}) =>
  spawned(here, args(how, join(here, "log")), { stdin: '{"n":0}\n{"n":1}\n', ...options })

/** Runs a command on 0 and 1 with one of its streams closed; `then` is called until it is true. */
const closing = (
  here: string,
  given: ReadonlyArray<string>,
  name: "stdout" | "stderr",
  then: () => boolean,
): Effect.Effect<Ended> =>
  Effect.callback((resume) => {
    const child = spawn(process.execPath, [bin, ...given], { cwd: here, stdio: "pipe" })
    const text = { stdout: "", stderr: "" }
    for (const other of ["stdout", "stderr"] as const)
      if (other !== name) child[other].on("data", (data: Buffer) => void (text[other] += data.toString()))
    child[name].destroy()
    child.stdin.end('{"n":0}\n{"n":1}\n')
    const watch = setInterval(() => {
      if (then()) clearInterval(watch)
    }, 20)
    child.on("close", (code) => {
      clearInterval(watch)
      resume(Effect.succeed({ code, ...text }))
    })
    return Effect.sync(() => {
      clearInterval(watch)
      child.kill("SIGKILL")
    })
  })

const reported = ({ stderr, stdout }: Ended): Run => {
  assert.notStrictEqual(stdout, "", stderr)
  return JSON.parse(stdout) as Run
}

const recorded = (here: string) =>
  Effect.map(
    reel("runs", "--store", join(here, ".reel"), "--json"),
    ({ stdout }) => (JSON.parse(stdout) as ReadonlyArray<{ readonly status: string }>)[0]!.status,
  )

describe("an operator in the process of a run", { timeout: 180_000 }, () => {
  it.live("that calls process.exit is one failed item", () =>
    Effect.gen(function* () {
      const here = yield* folder
      const ended = yield* misbehaving(here, "exit")
      assert.strictEqual(ended.code, 3, ended.stderr)
      const { failed, ledger, status } = reported(ended)
      assert.strictEqual(status, "finished-with-failures")
      assert.strictEqual(ledger["unruly"]!.kept, 1)
      assert.strictEqual(failed[0]!.node, "unruly")
      assert.include(failed[0]!.detail, "process.exit(0) was called")
    }).pipe(Effect.scoped),
  )

  for (const [how, says] of [
    ["rejects", "a promise was rejected by unruly outside of a call: Error: too late"],
    ["throws", "an error was thrown by unruly outside of a call: Error: too late"],
    ["exitLater", "an error was thrown by unruly outside of a call: Error: process.exit(0) was called"],
  ] as const)
    it.live(`that ${how} outside of a call ends the run as failed, by name`, () =>
      Effect.gen(function* () {
        const here = yield* folder
        const ended = yield* misbehaving(here, how)
        assert.strictEqual(ended.code, 1, ended.stderr)
        const { problem = "", status } = reported(ended)
        assert.strictEqual(status, "failed")
        assert.include(problem, says)
        assert.include(problem, "unruly.graph.ts")
        assert.include(ended.stderr, says)
        assert.strictEqual(yield* recorded(here), "failed")
      }).pipe(Effect.scoped),
    )

  it.live("that waits for what nobody will bring can be interrupted", () =>
    Effect.gen(function* () {
      const here = yield* folder
      const ended = yield* misbehaving(here, "stuck", { killWhen: () => existsSync(join(here, "log")) })
      assert.strictEqual(ended.code, 130, ended.stderr)
      assert.strictEqual(yield* recorded(here), "interrupted")
    }).pipe(Effect.scoped),
  )

  it.live("that changes the working folder is one failed item", () =>
    Effect.gen(function* () {
      const here = yield* folder
      const ended = yield* spawned(here, [...args("chdir", join(here, "log")), "--out", "out"], {
        stdin: '{"n":0}\n{"n":1}\n',
      })
      assert.strictEqual(ended.code, 3, ended.stderr)
      const { failed, ledger } = reported(ended)
      assert.strictEqual(ledger["unruly"]!.kept, 1)
      assert.include(failed[0]!.detail, 'process.chdir("/") was called in the process of a run')
      assert.isTrue(existsSync(join(here, "out")))
    }).pipe(Effect.scoped),
  )

  it.live("that leaves a timer does not keep the process", () =>
    Effect.gen(function* () {
      const here = yield* folder
      const ended = yield* misbehaving(here, "timer")
      assert.strictEqual(reported(ended).status, "done")
      assert.include(ended.stderr, "unruly")
      assert.include(ended.stderr, "a timer")
      assert.strictEqual(ended.code, 1, ended.stderr)
    }).pipe(Effect.scoped),
  )

  it.live("is not told of for a timer of reel's own, which waits for the pipes of a worker", () =>
    Effect.gen(function* () {
      const here = yield* folder
      const ended = yield* spawned(here, ["run", lingering, "--input", "-", "--json"], { stdin: '{"n":0}\n' })
      assert.strictEqual(ended.code, 0, ended.stderr)
      assert.strictEqual(reported(ended).status, "done")
      assert.notInclude(ended.stderr, "left a timer")
    }).pipe(Effect.scoped),
  )

  it.live("that never gives way is named, and Ctrl-C ends the process", () =>
    Effect.gen(function* () {
      const here = yield* folder
      let stderr = ""
      const ended = yield* misbehaving(here, "busy", {
        onStderr: (text) => void (stderr = text),
        killWhen: () => stderr.includes("busy"),
      })
      assert.include(ended.stderr, "a call of unruly has kept this process busy")
      assert.notStrictEqual(ended.code, 0)
      // What was done counts.
      const runs = yield* reel("runs", "--store", join(here, ".reel"))
      assert.include(runs.stdout, "ended by force")
    }).pipe(Effect.scoped),
  )

  it.live("that waits is interrupted by SIGHUP as by SIGTERM, with code 129", () =>
    Effect.gen(function* () {
      const here = yield* folder
      const ended = yield* misbehaving(here, "waits", {
        killWhen: () => existsSync(join(here, "log")),
        signal: "SIGHUP",
      })
      assert.strictEqual(ended.code, 129, ended.stderr)
      assert.strictEqual(reported(ended).status, "interrupted")
      assert.strictEqual(yield* recorded(here), "interrupted")
    }).pipe(Effect.scoped),
  )
})

describe("a run whose output nobody reads any more", { timeout: 180_000 }, () => {
  it.live("goes on to its end when its stderr is closed in the middle", () =>
    Effect.gen(function* () {
      const here = yield* folder
      const log = join(here, "log")
      const { code, stdout } = yield* closing(here, args("awaits", log), "stderr", () => {
        if (!existsSync(log)) return false
        writeFileSync(`${log}.go`, "")
        return true
      })
      assert.strictEqual(code, 0)
      assert.strictEqual((JSON.parse(stdout) as Run).ledger["unruly"]!.kept, 2)
      assert.strictEqual(yield* recorded(here), "done")
    }).pipe(Effect.scoped),
  )

  for (const name of ["stdout", "stderr"] as const)
    it.live(`ends with the code for failed items when its ${name} is closed`, () =>
      Effect.gen(function* () {
        const here = yield* folder
        const { code } = yield* closing(here, args("exit", join(here, "log")), name, () => true)
        assert.strictEqual(code, 3)
        assert.strictEqual(yield* recorded(here), "finished-with-failures")
      }).pipe(Effect.scoped),
    )
})

describe("what a command prints", { timeout: 180_000 }, () => {
  it.live("arrives whole, however slowly it is read", () =>
    Effect.gen(function* () {
      const here = yield* folder
      writeFileSync(
        join(here, "fails.graph.ts"),
        `import { Graph, Operator, Port } from "@reelgraph/core"
import { Effect, Schema } from "effect"
const Num = Port.make("Num", { record: Schema.Struct({ n: Schema.Int }) })
const Fails = Operator.map("fails", { version: "1.0.0", input: Num, output: Num, run: () => Effect.fail("no".repeat(100)) })
export default Graph.make("fails", { version: "1.0.0" }, (g) => ({ out: g.input("in", Num).pipe(Fails()) }))
`,
      )
      const count = 2000
      writeFileSync(join(here, "in.ndjson"), Array.from({ length: count }, (_, n) => `{"n":${n}}\n`).join(""))
      // More than a pipe holds, to a reader that begins when the command would have ended.
      const script = '"$0" "$1" run fails.graph.ts --input in.ndjson --json | (sleep 5; cat)'
      const { stdout } = spawnSync("sh", ["-c", script, process.execPath, bin], {
        cwd: here,
        encoding: "utf8",
        maxBuffer: 2 ** 26,
      })
      assert.isAbove(stdout.length, 2 ** 18)
      assert.lengthOf((JSON.parse(stdout) as Run).failed, count)
    }).pipe(Effect.scoped),
  )
})

describe("a graph module", { timeout: 180_000 }, () => {
  it.live("that never ends to load is told of, and Ctrl-C ends the process", () =>
    Effect.gen(function* () {
      const here = yield* folder
      mkdirSync(join(here, "a"))
      writeFileSync(join(here, "a/endless.graph.ts"), "while (true) {}\n")
      let stderr = ""
      const ended = yield* spawned(here, ["check", "./a/endless.graph.ts"], {
        onStderr: (text) => void (stderr = text),
        killWhen: () => stderr.includes("busy"),
      })
      assert.include(ended.stderr, "a module has kept this process busy")
      assert.notStrictEqual(ended.code, 0)
    }).pipe(Effect.scoped),
  )
})
