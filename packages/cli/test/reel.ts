/** The command as tests call it: in this process with what it prints in memory, or as a process of its own. */
import { spawn } from "node:child_process"
import { mkdtempSync, rmSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { fileURLToPath } from "node:url"

import * as NodeServices from "@effect/platform-node/NodeServices"
import * as Effect from "effect/Effect"

import { Main, TerminalOutput } from "../src/index.ts"

/** The command itself. */
export const bin = fileURLToPath(new URL("../src/bin.ts", import.meta.url))

/** The example that a person would write. */
export const example = fileURLToPath(
  new URL("../../../examples/brightness/brightness.graph.ts", import.meta.url),
)
export const scenes = fileURLToPath(new URL("../../../examples/brightness/scenes.ndjson", import.meta.url))
export const told = fileURLToPath(new URL("graphs/told.graph.ts", import.meta.url))
export const models = fileURLToPath(new URL("graphs/models.graph.ts", import.meta.url))
export const files = fileURLToPath(new URL("graphs/files.graph.ts", import.meta.url))
export const counts = fileURLToPath(new URL("graphs/counts.graph.ts", import.meta.url))
export const needing = fileURLToPath(new URL("graphs/needing.graph.ts", import.meta.url))
export const slow = fileURLToPath(new URL("graphs/slow.graph.ts", import.meta.url))

export interface Ended {
  readonly code: number | null
  readonly stdout: string
  readonly stderr: string
}

/** A folder that is gone when the test ends. */
export const folder = Effect.acquireRelease(
  Effect.sync(() => mkdtempSync(join(tmpdir(), "reel-cli-"))),
  (path) => Effect.sync(() => rmSync(path, { recursive: true, force: true })),
)

/** A screen that keeps what is written. */
export const memoryScreen = (options: { readonly isTTY?: boolean; readonly columns?: number } = {}) => {
  const written = { stdout: "", stderr: "" }
  const screen = TerminalOutput.make(
    { write: (text) => void (written.stdout += text) },
    { ...options, write: (text) => void (written.stderr += text) },
  )
  return { screen, written }
}

/** Runs the command in this process. */
export const reel = (...args: ReadonlyArray<string>): Effect.Effect<Ended> =>
  Effect.suspend(() => {
    const { screen, written } = memoryScreen()
    return Main.main(args).pipe(
      Effect.provideService(TerminalOutput.TerminalOutput, screen),
      Effect.provide(NodeServices.layer),
      Effect.map((code) => ({ code, ...written })),
    )
  })

/** Runs the command as a process in a folder; `during` may do something to it meanwhile. */
export const spawned = (
  cwd: string,
  args: ReadonlyArray<string>,
  options: {
    readonly stdin?: string
    /** Beside what this process has. */
    readonly environment?: Readonly<Record<string, string>>
    readonly onStderr?: (text: string, kill: (signal: NodeJS.Signals) => void) => void
    /** A state in which it is sent a signal, once. */
    readonly killWhen?: () => boolean
    /** @default SIGINT */
    readonly signal?: NodeJS.Signals
  } = {},
): Effect.Effect<Ended> =>
  Effect.callback((resume) => {
    const child = spawn(process.execPath, [bin, ...args], {
      cwd,
      stdio: ["pipe", "pipe", "pipe"],
      // oxlint-disable-next-line node/no-process-env -- a process boundary
      env: { ...process.env, ...options.environment },
    })
    const text = { stdout: "", stderr: "" }
    child.stdout.on("data", (data: Buffer) => void (text.stdout += data.toString()))
    child.stderr.on("data", (data: Buffer) => {
      text.stderr += data.toString()
      options.onStderr?.(text.stderr, (signal) => void child.kill(signal))
    })
    child.stdin.end(options.stdin ?? "")
    const watch = setInterval(() => {
      if (options.killWhen?.() !== true) return
      clearInterval(watch)
      child.kill(options.signal ?? "SIGINT")
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
