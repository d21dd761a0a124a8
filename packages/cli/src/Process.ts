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

/** A stream as the screen writes to it. */
const direct = (stream: NodeJS.WriteStream): Screen.Stream => {
  const write = stream.write.bind(stream)
  return {
    get isTTY() {
      return stream.isTTY
    },
    get columns() {
      return stream.columns
    },
    get rows() {
      return stream.rows
    },
    write: (text) => write(text),
  }
}
const terminal = direct(process.stderr)
const screen = Screen.make(direct(process.stdout), terminal)

// A reader such as `head` may go away before everything is printed.
for (const stream of [process.stdout, process.stderr]) {
  stream.on("error", (error: NodeJS.ErrnoException) => process.exit(error.code === "EPIPE" ? 0 : 1))
}

// What others write goes to stderr, and through the screen: stdout is for results.
for (const stream of [process.stdout, process.stderr]) {
  stream.write = (
    chunk: string | Uint8Array,
    encoding?: BufferEncoding | ((error?: Error | null) => void),
    written?: (error?: Error | null) => void,
  ) => {
    screen.pass(typeof chunk === "string" ? chunk : Buffer.from(chunk).toString())
    const done = typeof encoding === "function" ? encoding : written
    if (done !== undefined) queueMicrotask(done)
    return true
  }
}
const through = (write: (text: string) => void) =>
  new Writable({
    decodeStrings: false,
    write: (text: string, _, next) => {
      write(text)
      next()
    },
  })
const stderr = through(screen.pass)
globalThis.console = new NodeConsole(stderr, stderr)
// What the command line's own parser prints goes to stdout: completions.
const ownConsole = new NodeConsole(
  through((text) => screen.print(text.replace(/\n$/, ""))),
  stderr,
)

let signals = 0
const leave = () => {
  if (screen.isTerminal) terminal.write(Screen.showCursor)
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
