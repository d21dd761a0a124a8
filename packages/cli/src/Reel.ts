/**
 * The commands of `reel`, with their flags and help. What a command does is loaded when it is given: help and
 * versions come up without the engine, the store or any graph.
 */
import * as Config from "effect/Config"
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import { Argument, Command, Flag } from "effect/cli"

const store = Flag.String("store").pipe(
  Flag.withMetavar("DIR"),
  Flag.withDescription("Folder of results and history (default .reel, or $REEL_STORE)"),
  Flag.withFallbackConfig(Config.String("REEL_STORE")),
  Flag.withDefault(".reel"),
)
const json = Flag.Boolean("json").pipe(
  Flag.withDescription("Print one JSON document on stdout and nothing else there"),
  Flag.withDefault(false),
)
const input = Flag.String("input").pipe(
  Flag.withMetavar("NAME=PATH|GLOB"),
  Flag.withDescription(
    "Files for an input of the graph: a file, a folder or a quoted pattern; for records a .json or .ndjson file, or - for NDJSON on stdin. NAME= may be left out when there is one input. Repeatable",
  ),
  Flag.atLeast(0),
)
const set = Flag.String("set").pipe(
  Flag.withMetavar("NODE.PARAM=VALUE"),
  Flag.withDescription("Changes a param: JSON, or text. Repeatable"),
  Flag.atLeast(0),
)
const seed = Flag.Int("seed").pipe(
  Flag.withMetavar("N"),
  Flag.withDescription("Seed of everything random (default 0)"),
  Flag.withDefault(0),
)
const graph = Argument.String("GRAPH").pipe(
  Argument.withDescription("A name (curate, curate@1.0.0) or the path of a .ts, .js or .mjs file"),
)

const run = Command.make(
  "run",
  {
    graph,
    input,
    set,
    store,
    seed,
    maxFailures: Flag.Int("max-failures").pipe(
      Flag.withMetavar("N"),
      Flag.withDescription("Failed items after which the run ends (default: it goes on)"),
      Flag.filter(
        (value) => value >= 0,
        (value) => `Expected 0 or more, got ${value}`,
      ),
      Flag.optional,
    ),
    out: Flag.String("out").pipe(
      Flag.withMetavar("DIR"),
      Flag.withDescription("Writes the outputs there: a manifest for each, and the files they name"),
      Flag.optional,
    ),
    json,
  },
  (options) =>
    Effect.flatMap(
      Effect.promise(() => import("./commands/Run.ts")),
      (command) =>
        command.run({
          ...options,
          maxFailures: Option.getOrUndefined(options.maxFailures),
          out: Option.getOrUndefined(options.out),
        }),
    ),
).pipe(
  Command.withDescription(
    "Run a graph on inputs. Results that are in the store are not made again; a run that was ended goes on where it was",
  ),
  Command.withShortDescription("Run a graph on inputs"),
  Command.withExamples([
    { command: "reel run curate --input videos=./talks --out ./dataset", description: "A folder of videos" },
    {
      command: "reel run curate --input 'videos=talks/*.mp4' --set standardize.crf=18",
      description: "A pattern, with a param changed",
    },
    {
      command: "reel run ./my.graph.ts --input notes.ndjson --json",
      description: "A graph of your own, on records, with the report as JSON",
    },
  ]),
)

const plan = Command.make("plan", { graph, input, set, store, seed, json }, (options) =>
  Effect.flatMap(
    Effect.promise(() => import("./commands/Plan.ts")),
    (command) => command.run(options),
  ),
).pipe(
  Command.withDescription(
    "Say what a run would do: per node the results that are there, those that are not, and why",
  ),
  Command.withShortDescription("Say what a run would do"),
  Command.withExamples([
    {
      command: "reel plan curate --input videos=./talks --set split.seconds=4",
      description: "What a changed param would cost",
    },
  ]),
)

const runs = Command.make("runs", { store, json }, (options) =>
  Effect.flatMap(
    Effect.promise(() => import("./commands/Runs.ts")),
    (command) => command.run(options),
  ),
).pipe(
  Command.withDescription("List the runs of a store, newest first"),
  Command.withExamples([{ command: "reel runs --store ./results", description: "Of another store" }]),
)

const show = Command.make(
  "show",
  {
    run: Argument.String("RUN").pipe(
      Argument.withDescription("Name of a run, the beginning of one, or last"),
    ),
    store,
    json,
  },
  (options) =>
    Effect.flatMap(
      Effect.promise(() => import("./commands/Show.ts")),
      (command) => command.run(options),
    ),
).pipe(
  Command.withDescription("Show a run: its ledger, what was dropped and why, what failed"),
  Command.withExamples([{ command: "reel show last", description: "The newest run" }]),
)

/** The whole command. */
export const reel = Command.make("reel").pipe(
  Command.withDescription(
    "Declarative dataflow for text-to-video: run graphs of operators, and trace what they made",
  ),
  Command.withSubcommands([run, plan, runs, show]),
)
