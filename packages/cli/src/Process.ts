/**
 * The process around the command: standard streams, signals and the exit code.
 *
 * The first SIGINT, SIGTERM or SIGHUP interrupts the command, which keeps what is done; a second one ends the process
 * at once, and so does a command that has not ended some seconds after the first. While an operator keeps the process
 * busy, and for whatever operators leave behind in it, see `Watchdog` and `Strays`.
 */
import { Console as NodeConsole } from "node:console"
import { Writable } from "node:stream"

import * as NodeRuntime from "@effect/platform-node/NodeRuntime"
import * as NodeServices from "@effect/platform-node/NodeServices"
import * as Console from "effect/Console"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Logger from "effect/Logger"

import * as ExitCode from "./ExitCode.ts"
import { main } from "./Main.ts"
import * as TerminalOutput from "./TerminalOutput.ts"
import * as Strays from "./Strays.ts"
import * as Watchdog from "./Watchdog.ts"

const patienceMs = 4500

const args = process.argv.slice(2)

/** Streams that nobody reads any more: nothing is written to them. */
const closed = new Set<NodeJS.WriteStream>()

/** A stream as the screen writes to it. */
const direct = (stream: NodeJS.WriteStream): TerminalOutput.Stream => {
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
    write: (text) => closed.has(stream) || write(text),
  }
}
/** Calls back when everything that was written has reached the streams: what a pipe has not taken yet waits here. */
const flushed = [process.stdout, process.stderr].map((stream) => {
  const write = stream.write.bind(stream)
  return (done: () => void): void => {
    if (closed.has(stream) || stream.writableLength === 0) done()
    else write("", () => done())
  }
})
const terminal = direct(process.stderr)
const screen = TerminalOutput.make(direct(process.stdout), terminal)

/** Commands whose work counts whether somebody reads what they print or not. */
const working = new Set(["run", "generate", "train"])
/** Whether results could not be printed, for another reason than that their reader has gone. */
let unprinted = false

// A reader such as `head` may go away before everything is printed, or a terminal may hang up.
for (const stream of [process.stdout, process.stderr]) {
  stream.on("error", (error: NodeJS.ErrnoException) => {
    closed.add(stream)
    if (stream === process.stderr || received > 0) return
    if (error.code !== "EPIPE" && !unprinted) {
      unprinted = true
      screen.tell(`reel: standard output could not be written: ${error.message}`)
    }
    // What only prints has nothing more to do.
    if (!working.has(args[0] ?? "")) exit(unprinted ? ExitCode.failed : ExitCode.done)
  })
}
/** The code that the process ends with: what could not be printed is no success. */
const finalCode = (code: number): number => (code === ExitCode.done && unprinted ? ExitCode.failed : code)

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

// An operator ends by what it gives or fails with: the process is not its own. The call fails, and the run goes on.
const exit = process.exit.bind(process)
const refuseExit: typeof process.exit = (code) => {
  const error = new Error(
    `process.exit(${code ?? ""}) was called in the process of a run; an operator ends by what it gives, or fails with`,
  )
  // Its first frame is who called.
  Error.captureStackTrace(error, refuseExit)
  throw error
}
process.exit = refuseExit

// Relative paths of the run, such as --out, are those of the folder that it began in.
const refuseChdir: typeof process.chdir = (folder) => {
  const error = new Error(
    `process.chdir(${JSON.stringify(folder)}) was called in the process of a run; an operator names files by absolute paths, or has a \`worker\``,
  )
  Error.captureStackTrace(error, refuseChdir)
  throw error
}
process.chdir = refuseChdir

/** Ends the process when what it has printed is read. */
const exitFlushed = (code: number): void => {
  let left = flushed.length
  for (const flush of flushed) flush(() => void (--left === 0 && exit(code)))
}

let received = 0
let hungUp = false
const interruptedCode = () => (hungUp ? ExitCode.hungUp : ExitCode.interrupted)
const leave = (code: number) => {
  if (screen.isTerminal) terminal.write(TerminalOutput.showCursor)
  exit(code)
}
/** A command that does not come to its end by itself is ended. */
const leaveSoon = (code: number) => setTimeout(() => leave(code), patienceMs).unref()

for (const signal of ["SIGINT", "SIGTERM"] as const) {
  process.on(signal, () => {
    received++
    if (received > 1) return leave(interruptedCode())
    screen.tell("reel: ending; once more to end at once")
    leaveSoon(interruptedCode())
  })
}
// The terminal has gone: the same end, though nobody reads of it.
process.on("SIGHUP", () => {
  hungUp = true
  process.emit("SIGTERM", "SIGTERM")
})

const strays = Strays.make()
for (const [event, how] of [
  ["uncaughtException", "thrown"],
  ["unhandledRejection", "rejected"],
] as const)
  process.on(event, (cause: unknown) => {
    strays.report(cause, how)
    leaveSoon(ExitCode.failed)
  })

/** How often, and after how many milliseconds each, it is looked whether timers of operators have ended. */
const lastLooks = 10
const lookMs = 20

/** Ends the process; with an error, when operators have left timers that were to do something yet. */
const unlessTimers = (looks: number): void => {
  if (!process.getActiveResourcesInfo().includes("Timeout")) return exitFlushed(finalCode(ExitCode.done))
  if (looks > 0) return void setTimeout(unlessTimers, lookMs, looks - 1)
  screen.tell(
    `reel: ${strays.nodes().join(" or ")} left a timer that still goes on, and the process ends without it; an operator has to wait for all that it begins`,
  )
  exitFlushed(ExitCode.failed)
}

/** Commands that load modules of others, and run operators. */
const loading = new Set(["run", "plan", "check", "graphs", "operators", "generate", "train"])
const watchdog = loading.has(args[0] ?? "")
  ? Watchdog.start(screen.isTerminal ? TerminalOutput.showCursor : "")
  : undefined

const stray = Effect.catch(strays.otherwise, ({ message }) =>
  Effect.sync(() => {
    screen.tell(`reel: ${message}`)
    return ExitCode.failed
  }),
)
const command = Effect.raceFirst(main(args), stray).pipe(
  Effect.provideService(TerminalOutput.TerminalOutput, screen),
  Effect.provideService(Strays.Strays, strays),
  Effect.provide(NodeServices.layer),
  Effect.provide(Logger.layer([Logger.withConsoleError(Logger.formatLogFmt)])),
  Effect.provideService(Console.Console, ownConsole),
)

NodeRuntime.runMain(
  watchdog === undefined ? command : Effect.provideService(command, Watchdog.Watchdog, watchdog),
  {
    disableErrorReporting: true,
    // By itself the process would wait for what operators have left open.
    teardown: (ended) => {
      if (!Exit.isSuccess(ended)) return exitFlushed(interruptedCode())
      const code = finalCode(Number(ended.value))
      if (code !== ExitCode.done || strays.nodes().length === 0) return exitFlushed(code)
      unlessTimers(lastLooks)
    },
  },
)
