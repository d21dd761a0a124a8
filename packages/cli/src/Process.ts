/**
 * The process around the command: standard streams, signals and the exit code.
 *
 * The first SIGINT or SIGTERM interrupts the command, which keeps what is done; a second one ends the process at
 * once, and so does a command that has not ended some seconds after the first.
 */
import { Console as NodeConsole } from "node:console"
import { Writable } from "node:stream"

import * as NodeRuntime from "@effect/platform-node/NodeRuntime"
import * as NodeServices from "@effect/platform-node/NodeServices"
import * as Console from "effect/Console"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Logger from "effect/Logger"

import { main } from "./Main.ts"
import * as Screen from "./Screen.ts"

const patienceMs = 4500

const screen = Screen.make(process.stdout, process.stderr)

// A reader such as `head` may go away before everything is printed.
for (const stream of [process.stdout, process.stderr]) {
  stream.on("error", (error: NodeJS.ErrnoException) => process.exit(error.code === "EPIPE" ? 0 : 1))
}

// What operators log goes to stderr: stdout is for results.
const ownConsole = globalThis.console
const stderr = new Writable({
  decodeStrings: false,
  write: (text: string, _, next) => {
    screen.pass(text)
    next()
  },
})
globalThis.console = new NodeConsole(stderr, stderr)

let signals = 0
const leave = () => {
  if (screen.isTerminal) process.stderr.write(Screen.showCursor)
  process.exit(130)
}
for (const signal of ["SIGINT", "SIGTERM"] as const) {
  process.on(signal, () => {
    signals++
    if (signals > 1) return leave()
    screen.tell("reel: ending; once more to end at once")
    setTimeout(leave, patienceMs).unref()
  })
}

NodeRuntime.runMain(
  main(process.argv.slice(2)).pipe(
    Effect.provideService(Screen.Screen, screen),
    Effect.provide(NodeServices.layer),
    Effect.provide(Logger.layer([Logger.withConsoleError(Logger.formatLogFmt)])),
    Effect.provideService(Console.Console, ownConsole),
  ),
  {
    disableErrorReporting: true,
    teardown: (exit, onExit) => onExit(Exit.isSuccess(exit) ? Number(exit.value) : 130),
  },
)
