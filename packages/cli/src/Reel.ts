/**
 * The commands of `reel`, with their flags and help. What a command does is loaded when it is given: help and
 * versions come up without the engine, the store or any graph.
 */
import * as Config from "effect/Config"
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import { Argument, Command, Flag } from "effect/cli"

const store = Flag.String("store").pipe(
  Flag.withMetavar("DIR|URL"),
  Flag.withDescription(
    "Where results and history are: a folder, or a bucket as s3://bucket/prefix (default .reel, or $REEL_STORE)",
  ),
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
    "Files for an input of the graph: a file, a folder or a quoted pattern; for records a .json or .ndjson file, or - for NDJSON on stdin. NAME= alone is an input without records. NAME= may be left out when there is one input. Repeatable",
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

const pools = Flag.String("pools").pipe(
  Flag.withMetavar("FILE"),
  Flag.withDescription(
    "Pools to place the graph on: a .ts, .js or .mjs file with `export default Pools.make(...)` of @reelgraph/placement (default: this machine)",
  ),
  Flag.optional,
)

const changedCode = Flag.Literals("changed-code", ["auto", "recompute", "reuse"]).pipe(
  Flag.withDescription(
    "Cached results of an operator whose code changed under its version: recompute them, reuse them, or auto: recompute those of your own files, reuse those of released packages (default auto)",
  ),
  Flag.withDefault("auto" as const),
)

const run = Command.make(
  "run",
  {
    graph,
    input,
    set,
    store,
    seed,
    changedCode,
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
    pools,
    detach: Flag.Boolean("detach").pipe(
      Flag.withDescription(
        "On Ctrl-C leave the jobs of a cluster running: the same command takes them up again (default: cancel them)",
      ),
      Flag.withDefault(false),
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
          pools: Option.getOrUndefined(options.pools),
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

const file = (name: string, description: string) =>
  Flag.String(name).pipe(Flag.withMetavar("FILE"), Flag.withDescription(description), Flag.optional)

const generate = Command.make(
  "generate",
  {
    prompt: Argument.String("PROMPT").pipe(Argument.withDescription("What is to be seen, in English")),
    negative: Flag.String("negative").pipe(
      Flag.withMetavar("TEXT"),
      Flag.withDescription("What is not to be seen"),
      Flag.withDefault(""),
    ),
    seed,
    count: Flag.Int("count").pipe(
      Flag.withMetavar("N"),
      Flag.withDescription("How many videos, each of other noise (default 1)"),
      Flag.filter(
        (value) => value >= 1 && value <= 1000,
        (value) => `Expected 1 to 1000, got ${value}`,
      ),
      Flag.withDefault(1),
    ),
    out: file("out", "Where the video is written (default out/<prompt>-<seed>.mp4)"),
    model: file("model", "File of a denoiser (default weights/denoiser.safetensors of the repository)"),
    vae: file("vae", "File of its autoencoder (default weights/vae.safetensors of the repository)"),
    set,
    store,
    json,
  },
  (options) =>
    Effect.flatMap(
      Effect.promise(() => import("./commands/Generate.ts")),
      (command) =>
        command.run({
          ...options,
          out: Option.getOrUndefined(options.out),
          model: Option.getOrUndefined(options.model),
          vae: Option.getOrUndefined(options.vae),
        }),
    ),
).pipe(
  Command.withDescription(
    "Make a video of a prompt: runs the graph generate and writes its output. The same prompt, seed and models give the same file",
  ),
  Command.withShortDescription("Make a video of a prompt"),
  Command.withExamples([
    { command: 'reel generate "a red ball rises on a white background"', description: "One video" },
    {
      command: 'reel generate "a blue square turns" --seed 7 --count 4 --set sample.guidance=2',
      description: "Four of them, with a param changed",
    },
  ]),
)

const train = Command.make(
  "train",
  {
    videos: Argument.String("VIDEOS").pipe(
      Argument.withDescription("Folder of videos, a file, or a quoted pattern"),
    ),
    captions: Flag.String("captions").pipe(
      Flag.withMetavar("FOLDER"),
      Flag.withDescription("Folder of their captions, beach.txt for beach.mp4 (default: that of the videos)"),
      Flag.optional,
    ),
    initial: file(
      "initial",
      "File of a denoiser to go on from, or none (default weights/denoiser.safetensors of the repository)",
    ),
    vae: file("vae", "File of the autoencoder (default weights/vae.safetensors of the repository)"),
    steps: Flag.Int("steps").pipe(
      Flag.withMetavar("N"),
      Flag.withDescription("Steps to make (default: the graph's)"),
      Flag.optional,
    ),
    out: Flag.String("out").pipe(
      Flag.withMetavar("FILE"),
      Flag.withDescription(
        "Where the model is written, its loss beside it as .csv and .svg (default out/denoiser.safetensors)",
      ),
      Flag.withDefault("out/denoiser.safetensors"),
    ),
    set,
    seed,
    store,
    json,
  },
  (options) =>
    Effect.flatMap(
      Effect.promise(() => import("./commands/Train.ts")),
      (command) =>
        command.run({
          ...options,
          captions: Option.getOrUndefined(options.captions),
          initial: Option.getOrUndefined(options.initial),
          vae: Option.getOrUndefined(options.vae),
          steps: Option.getOrUndefined(options.steps),
        }),
    ),
).pipe(
  Command.withDescription(
    "Train a denoiser on videos with captions: runs the graph train and writes its checkpoint. From a model, with a learning rate of 0.0002 unless another is set",
  ),
  Command.withShortDescription("Train a denoiser on videos with captions"),
  Command.withExamples([
    { command: "reel train ./clips --steps 500", description: "Go on from the model of the repository" },
    {
      command: "reel train ./clips --captions ./texts --initial none --set train.batchPlaces=9216",
      description: "From nothing, in smaller batches",
    },
  ]),
)

const simulation = {
  simulate: Flag.Boolean("simulate").pipe(
    Flag.withDescription("Simulate the run on its pools: when it ends, what it costs, what it waits for"),
    Flag.withDefault(false),
  ),
  profile: file("profile", "What the work costs, for --simulate (default: what runs of the store took)"),
  items: Flag.String("items").pipe(
    Flag.withMetavar("INPUT=N"),
    Flag.withDescription("Items of an input, for --simulate, such as videos=1e8. Repeatable"),
    Flag.atLeast(0),
  ),
}

const plan = Command.make(
  "plan",
  { graph, input, set, store, seed, changedCode, pools, ...simulation, json },
  (options) =>
    Effect.flatMap(
      Effect.promise(() => import("./commands/Plan.ts")),
      (command) =>
        command.run({
          ...options,
          pools: Option.getOrUndefined(options.pools),
          profile: Option.getOrUndefined(options.profile),
        }),
    ),
).pipe(
  Command.withDescription(
    "Say what a run would do: per node the results that are there, those that are not, and why; with --pools, where each node would run, and why there; with --simulate, when it would end, and for how much",
  ),
  Command.withShortDescription("Say what a run would do"),
  Command.withExamples([
    {
      command: "reel plan curate --input videos=./talks --set split.seconds=4",
      description: "What a changed param would cost",
    },
    {
      command: "reel plan curate --input videos=./talks --pools cluster.pools.ts",
      description: "Which node would run in which pool",
    },
    {
      command:
        "reel plan curate --pools examples/scale/scale.pools.ts --simulate --profile examples/scale/scale.profile.ts",
      description: "A hundred million clips, simulated",
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
  Command.withDescription(
    "Show a run: its ledger, what was dropped and why, what failed, and what happened on the way",
  ),
  Command.withExamples([{ command: "reel show last", description: "The newest run" }]),
)

const target = Argument.String("FILE|ID").pipe(
  Argument.withDescription(
    "A file, known by its content alone, or at least 6 digits of the digest of an item or artifact",
  ),
)

const lineage = Command.make(
  "lineage",
  {
    target,
    up: Flag.Boolean("up").pipe(
      Flag.withDescription("Back to what it was made from (the default)"),
      Flag.withDefault(false),
    ),
    down: Flag.Boolean("down").pipe(
      Flag.withDescription("Forth to what was made from it"),
      Flag.withDefault(false),
    ),
    store,
    json,
  },
  (options) =>
    Effect.flatMap(
      Effect.promise(() => import("./commands/Lineage.ts")),
      (command) => command.run(options),
    ),
).pipe(
  Command.withDescription("Trace a thing back to its sources, or forth to everything made from it"),
  Command.withExamples([
    { command: "reel lineage ./dataset/clips/talk-3f2a91bc.mp4", description: "Where a clip comes from" },
    { command: "reel lineage 8d2f10aa --down --json", description: "What was made from an item" },
  ]),
)

const logs = Command.make(
  "logs",
  {
    target: Argument.String("RUN|FILE|ID").pipe(
      Argument.withDescription(
        "A run (its name, the beginning of one, or last), or an item: a file, or at least 6 digits of a digest",
      ),
    ),
    lines: Flag.Int("lines").pipe(
      Flag.withMetavar("N"),
      Flag.withDescription("Lines of each log, from its end (default 200)"),
      Flag.filter(
        (value) => value >= 1,
        (value) => `Expected 1 or more, got ${value}`,
      ),
      Flag.withDefault(200),
    ),
    store,
    json,
  },
  (options) =>
    Effect.flatMap(
      Effect.promise(() => import("./commands/Logs.ts")),
      (command) => command.run(options),
    ),
).pipe(
  Command.withDescription(
    "Print what the workers of a cluster wrote in a run, or those that made an item or failed at it: which node, job and task, and the end of its log",
  ),
  Command.withShortDescription("Print the logs of the workers of a run, or of those that made an item"),
  Command.withExamples([
    { command: "reel logs last --lines 20", description: "All workers of the newest run, briefly" },
    {
      command: "reel logs 8d2f10aa",
      description: "By the first digits of an item, as `reel show` lists them",
    },
  ]),
)

const impact = Command.make("impact", { target, store, json }, (options) =>
  Effect.flatMap(
    Effect.promise(() => import("./commands/Impact.ts")),
    (command) => command.run(options),
  ),
).pipe(
  Command.withDescription(
    "List everything made from a source, the outputs of runs that hold it, and what was dropped on the way: what a takedown needs",
  ),
  Command.withShortDescription("List everything made from a source"),
  Command.withExamples([
    { command: "reel impact ./talks/talk.mp4", description: "All that came of a video" },
  ]),
)

const graphs = Command.make(
  "graphs",
  {
    graph: graph.pipe(Argument.optional),
    mermaid: Flag.Boolean("mermaid").pipe(
      Flag.withDescription("Print the drawing of a graph as Mermaid"),
      Flag.withDefault(false),
    ),
    dot: Flag.Boolean("dot").pipe(
      Flag.withDescription("Print the drawing of a graph for Graphviz"),
      Flag.withDefault(false),
    ),
    json,
  },
  (options) =>
    Effect.flatMap(
      Effect.promise(() => import("./commands/Graphs.ts")),
      (command) => command.run({ ...options, graph: Option.getOrUndefined(options.graph) }),
    ),
).pipe(
  Command.withDescription("List the installed graphs, or show one: its nodes, params and drawing"),
  Command.withShortDescription("List the graphs, or show one"),
  Command.withExamples([
    { command: "reel graphs curate", description: "The nodes of a graph with their params" },
    { command: "reel graphs ./my.graph.ts --mermaid", description: "A drawing for Markdown" },
  ]),
)

const operators = Command.make(
  "operators",
  {
    of: Argument.String("OPERATOR|GRAPH").pipe(
      Argument.withDescription("An operator, a family of them, or a graph whose operators to show"),
      Argument.optional,
    ),
    json,
  },
  (options) =>
    Effect.flatMap(
      Effect.promise(() => import("./commands/Operators.ts")),
      (command) => command.run({ ...options, of: Option.getOrUndefined(options.of) }),
    ),
).pipe(
  Command.withDescription("Show operators: versions, ports with their tensors, params, resources"),
  Command.withShortDescription("Show operators and their params"),
  Command.withExamples([
    { command: "reel operators standardize", description: "One operator" },
    { command: "reel operators ./my.graph.ts", description: "Those of a graph of your own" },
  ]),
)

const check = Command.make(
  "check",
  {
    graph: graph.pipe(Argument.optional),
    update: Flag.Boolean("update").pipe(
      Flag.withDescription("Write the snapshots that are missing; never changes one"),
      Flag.withDefault(false),
    ),
    changedCode,
    store,
    json,
  },
  (options) =>
    Effect.flatMap(
      Effect.promise(() => import("./commands/Check.ts")),
      (command) => command.run({ ...options, graph: Option.getOrUndefined(options.graph) }),
    ),
).pipe(
  Command.withDescription(
    "Verify graphs, compare them with their committed snapshots, and tell operators whose code changed under their version",
  ),
  Command.withShortDescription("Verify graphs and their snapshots"),
  Command.withExamples([
    { command: "reel check", description: "All installed graphs" },
    { command: "reel check ./my.graph.ts --update", description: "Keep a snapshot of a graph of your own" },
  ]),
)

const diff = Command.make(
  "diff",
  {
    a: Argument.String("RUN_A"),
    b: Argument.String("RUN_B"),
    store,
    json,
  },
  (options) =>
    Effect.flatMap(
      Effect.promise(() => import("./commands/Diff.ts")),
      (command) => command.run(options),
    ),
).pipe(
  Command.withDescription(
    "Compare two runs: their graphs and params, ledgers, and the items that only one has",
  ),
  Command.withShortDescription("Compare two runs"),
  Command.withExamples([
    { command: "reel diff curate-20260114 last", description: "An earlier run with the newest" },
  ]),
)

const verify = Command.make("verify", { store, json }, (options) =>
  Effect.flatMap(
    Effect.promise(() => import("./commands/Verify.ts")),
    (command) => command.run(options),
  ),
).pipe(
  Command.withDescription(
    "Read every blob of a store and compare it with its digest: lists those that are damaged (and moves them aside), those that are missing, and files that are not the store's. Ends with 1 when there are any; the next run makes anew what it needs",
  ),
  Command.withShortDescription("Compare every blob of a store with its digest"),
  Command.withExamples([{ command: "reel verify --store ./results", description: "Of another store" }]),
)

/** The whole command. */
export const reel = Command.make("reel").pipe(
  Command.withDescription(
    "Declarative dataflow for text-to-video: run graphs of operators, and trace what they made",
  ),
  Command.withSubcommands([
    generate,
    train,
    graphs,
    operators,
    check,
    plan,
    run,
    runs,
    show,
    diff,
    lineage,
    logs,
    impact,
    verify,
  ]),
)
