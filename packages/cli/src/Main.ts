/** The command from its arguments to its exit code: errors in one line on stderr, and as JSON where that was asked for. */
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import { CliConfig, type CliError, CliOutput, Command, GlobalFlag } from "effect/cli"

import * as ExitCode from "./ExitCode.ts"
import * as Format from "./Format.ts"
import { reel } from "./Reel.ts"
import { TerminalOutput } from "./TerminalOutput.ts"

export const version = "0.1.0"

/** Runs the command. Never fails: everything has been said when it gives the exit code. */
export const main = (
  args: ReadonlyArray<string>,
): Effect.Effect<number, never, TerminalOutput | Command.Environment> =>
  Effect.gen(function* () {
    const screen = yield* TerminalOutput
    const exit = yield* Command.runWith(reel, { version })(args).pipe(
      Effect.provideService(CliOutput.Presenter, presenter(screen, args)),
      Effect.provideService(
        CliConfig.CliConfig,
        CliConfig.make({
          builtIns: [GlobalFlag.Help, GlobalFlag.Version, GlobalFlag.Completions, GlobalFlag.LogLevel],
        }),
      ),
      Effect.exit,
    )
    if (Exit.isSuccess(exit)) return ExitCode.done
    const told = ExitCode.ofCause(exit.cause)
    if (typeof told === "number") return told
    if (told.tag === "ShowHelp") return args.length === 0 ? ExitCode.done : ExitCode.usage
    screen.tell(`reel: ${told.message}`)
    printError(screen, args, told)
    return told.exitCode
  })

const printError = (
  screen: typeof TerminalOutput.Service,
  args: ReadonlyArray<string>,
  { message, tag }: Pick<ExitCode.Told, "tag" | "message">,
): void => {
  if (args.includes("--json")) screen.print(JSON.stringify({ error: { tag, message } }, null, 2))
}

/** Help on stdout when it was asked for; mistakes in one line each on stderr. */
const presenter = (
  screen: typeof TerminalOutput.Service,
  args: ReadonlyArray<string>,
): CliOutput.Presenter => {
  const formatter = CliOutput.defaultFormatter({ colors: false })
  return {
    present: (event) =>
      Effect.sync(() => {
        switch (event._tag) {
          case "Help":
            return event.reason === "Requested" || args.length === 0
              ? screen.print(formatter.formatHelpDoc(event.helpDoc))
              : screen.tell(`reel: which command? \`${event.commandPath.join(" ")} --help\` lists them`)
          case "Version":
            return screen.print(`reel ${event.version}`)
          case "InvalidInvocation": {
            const message = event.errors.map(sentence).join("\n")
            screen.tell(`reel: ${message}\n\`${event.commandPath.join(" ")} --help\` shows how it is used`)
            return printError(screen, args, { tag: event.errors[0]?._tag ?? "Usage", message })
          }
        }
      }),
  }
}

/** A mistake in how the command was called, in one line. */
const sentence = (error: CliError.NonShowHelpErrors): string => {
  switch (error._tag) {
    case "UnrecognizedOption":
      return `there is no flag ${error.option}.${meant(error.suggestions)}`
    case "UnknownSubcommand":
      return `there is no command ${error.subcommand}.${meant(error.suggestions)}`
    case "MissingArgument":
      return `${error.argument} is missing`
    case "MissingOption":
      return `--${error.option} is missing`
    case "UnexpectedArgument":
      return `what is ${error.arguments.map((text) => JSON.stringify(text)).join(", ")} for? Patterns need quotes, and several inputs one --input each`
    case "InvalidValue":
      return error.value === "" && error.kind === "flag"
        ? `--${error.option} needs a value`
        : `${error.kind === "flag" ? "--" : ""}${error.option} ${JSON.stringify(error.value)}: ${error.expected}`
    default:
      return Format.line(error.message)
  }
}

const meant = (suggestions: ReadonlyArray<string>): string =>
  suggestions.length === 0 ? "" : ` Did you mean ${suggestions.join(" or ")}?`
