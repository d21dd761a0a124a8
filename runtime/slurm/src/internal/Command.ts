/** One of Slurm's commands, run to its end: with an argument array, never through a shell. */
import { spawn } from "node:child_process"

import * as Effect from "effect/Effect"

import { OutputTooLarge, SlurmMissing } from "../SlurmError.ts"

export interface Command {
  readonly command: string
  readonly args: ReadonlyArray<string>
  readonly environment: Readonly<Record<string, string>>
  /** Given on standard input. */
  readonly input?: string
  /** After which the command is killed. */
  readonly timeoutMs: number
  /** Of standard output. */
  readonly maxBytes: number
}

export interface Ended {
  /** Nothing when it was killed because it took too long. */
  readonly code: number | undefined
  readonly stdout: string
  /** What it reported on standard error; or that it took too long. */
  readonly reported: string
}

const reportedBytes = 16_384

/** For which what a command wrote last is waited for, when somebody else holds its pipes. */
const lastMs = 500

/** Runs a command; interrupting it kills it. */
export const run = (command: Command): Effect.Effect<Ended, SlurmMissing | OutputTooLarge> =>
  Effect.callback((resume) => {
    const child = spawn(command.command, command.args, { env: command.environment, stdio: "pipe" })
    const parts: Array<Buffer> = []
    let bytes = 0
    let reported = ""
    let late = false
    const timer = setTimeout(() => {
      late = true
      child.kill("SIGKILL")
    }, command.timeoutMs)
    child.stdout.on("data", (data: Buffer) => {
      bytes += data.length
      if (bytes > command.maxBytes) child.kill("SIGKILL")
      else parts.push(data)
    })
    child.stderr.on(
      "data",
      (data: Buffer) => void (reported = (reported + data.toString("utf8")).slice(-reportedBytes)),
    )
    // A command that does not read what it is given says why when it ends.
    child.stdin.on("error", () => {})
    child.once("error", (cause) => {
      clearTimeout(timer)
      resume(Effect.fail(new SlurmMissing({ command: command.command, cause })))
    })
    const ended = (code: number | null) => {
      clearTimeout(timer)
      // A process that it has begun may hold its pipes: neither the answer nor this process waits for that one.
      for (const pipe of [child.stdin, child.stdout, child.stderr]) pipe.destroy()
      if (bytes > command.maxBytes) {
        const { maxBytes } = command
        return resume(Effect.fail(new OutputTooLarge({ command: command.command, maxBytes })))
      }
      const answer = late ? `no answer in ${command.timeoutMs / 1000} s` : ""
      resume(
        Effect.succeed({
          code: late ? undefined : (code ?? undefined),
          stdout: Buffer.concat(parts).toString("utf8"),
          reported: [reported.trim(), answer].filter((text) => text !== "").join("; "),
        }),
      )
    }
    child.once("close", ended)
    child.once("exit", (code) => {
      // Unless its pipes are open, nothing is left to wait for.
      const late = setTimeout(() => ended(code), lastMs).unref()
      child.once("close", () => clearTimeout(late))
    })
    child.stdin.end(command.input ?? "")
    return Effect.sync(() => {
      clearTimeout(timer)
      child.kill("SIGKILL")
    })
  })
