/**
 * What a person can get wrong on the command line. Each is told before anything has run or been written, and ends
 * the command with exit code 2.
 */
import * as Schema from "effect/Schema"

import * as Suggest from "./Suggest.ts"

const Names = Schema.Array(Schema.String)
const listed = (names: ReadonlyArray<string>): string => (names.length === 0 ? "none" : names.join(", "))

/** No installed graph has this name and version. */
export class GraphUnknown extends Schema.TaggedError<GraphUnknown>()("GraphUnknown", {
  name: Schema.String,
  known: Names,
}) {
  readonly exitCode = 2
  override get message() {
    const names = [...this.known, ...this.known.map((label) => label.slice(0, label.lastIndexOf("@")))]
    const known =
      this.known.length === 0 ? "no graphs are installed" : `the installed ones are ${this.known.join(", ")}`
    return `there is no graph ${this.name}: ${known}.${Suggest.sentence(this.name, names)} For a graph of your own, give the path of its file, such as ./my.graph.ts`
  }
}

/** Neither an operator, nor a family of them, nor a graph. */
export class OperatorUnknown extends Schema.TaggedError<OperatorUnknown>()("OperatorUnknown", {
  name: Schema.String,
  known: Names,
}) {
  readonly exitCode = 2
  override get message() {
    return `there is no operator or graph ${this.name}.${Suggest.sentence(this.name, this.known)} \`reel operators\` lists them`
  }
}

/** A graph file that does not exist. */
export class GraphFileMissing extends Schema.TaggedError<GraphFileMissing>()("GraphFileMissing", {
  file: Schema.String,
}) {
  readonly exitCode = 2
  override get message() {
    return `graph file ${this.file} does not exist; check the path`
  }
}

/** A module that exports no graph. */
export class GraphNotExported extends Schema.TaggedError<GraphNotExported>()("GraphNotExported", {
  file: Schema.String,
  exports: Names,
}) {
  readonly exitCode = 2
  override get message() {
    return `${this.file} exports no graph (it exports ${listed(this.exports)}); write \`export default Graph.make(...)\``
  }
}

/** A module that exports several graphs, none of them as its default. */
export class GraphAmbiguous extends Schema.TaggedError<GraphAmbiguous>()("GraphAmbiguous", {
  file: Schema.String,
  graphs: Names,
}) {
  readonly exitCode = 2
  override get message() {
    return `${this.file} exports several graphs (${listed(this.graphs)}); make one the default export, or split the file`
  }
}

/** A pools file that does not exist. */
export class PoolsFileMissing extends Schema.TaggedError<PoolsFileMissing>()("PoolsFileMissing", {
  file: Schema.String,
}) {
  readonly exitCode = 2
  override get message() {
    return `--pools: there is no file ${this.file}; check the path`
  }
}

/** A module whose default export is no pools. */
export class PoolsNotExported extends Schema.TaggedError<PoolsNotExported>()("PoolsNotExported", {
  file: Schema.String,
  exports: Names,
}) {
  readonly exitCode = 2
  override get message() {
    const isPlain = this.exports.includes("default")
    return `--pools: ${this.file} exports no pools (it exports ${listed(this.exports)}${isPlain ? ", not made by Pools.make" : ""}); write \`export default Pools.make({ pools: { here: Pool.local({ cores: 8, memoryGiB: 32 }) } })\`, both from @reelgraph/placement`
  }
}

/** `--input` without a name for a graph with several inputs. */
export class InputNameMissing extends Schema.TaggedError<InputNameMissing>()("InputNameMissing", {
  graph: Schema.String,
  given: Schema.String,
  inputs: Names,
}) {
  readonly exitCode = 2
  override get message() {
    return `--input ${this.given} does not say which input it is for: graph ${this.graph} has ${listed(this.inputs)}; write --input ${this.inputs[0] ?? "NAME"}=${this.given}`
  }
}

/** An input that the graph does not have. */
export class InputUnknown extends Schema.TaggedError<InputUnknown>()("InputUnknown", {
  graph: Schema.String,
  input: Schema.String,
  inputs: Names,
}) {
  readonly exitCode = 2
  override get message() {
    return `graph ${this.graph} has no input ${this.input}; it has ${listed(this.inputs)}.${Suggest.sentence(this.input, this.inputs)}`
  }
}

/** Inputs of the graph that were not given. */
export class InputMissing extends Schema.TaggedError<InputMissing>()("InputMissing", {
  graph: Schema.String,
  missing: Schema.Array(Schema.Struct({ input: Schema.String, takes: Schema.String })),
}) {
  readonly exitCode = 2
  override get message() {
    const [first, ...others] = this.missing.map(({ input }) => input)
    const inputs = others.length === 0 ? `input ${first}` : `inputs ${listed([first!, ...others])}`
    const flags = this.missing.map(({ input, takes }) => `--input ${input}=${takes}`)
    return `graph ${this.graph} needs the ${inputs}; give ${others.length === 0 ? "it" : "them"} with ${flags.join(" ")}`
  }
}

/** A pool of this machine with more GPUs than this process may see. */
export class GpusHidden extends Schema.TaggedError<GpusHidden>()("GpusHidden", {
  wanted: Schema.Int,
  visible: Schema.String,
}) {
  readonly exitCode = 2
  override get message() {
    return `the pools file gives this machine ${this.wanted === 1 ? "a GPU" : `${this.wanted} GPUs`}, and CUDA_VISIBLE_DEVICES is "${this.visible}": correct one of them`
  }
}

/** A path or pattern of an input that leads to no file. */
export class InputNotFound extends Schema.TaggedError<InputNotFound>()("InputNotFound", {
  input: Schema.String,
  path: Schema.String,
  why: Schema.String,
}) {
  readonly exitCode = 2
  override get message() {
    return `input ${this.input}: ${this.path} ${this.why}`
  }
}

/** A file given to an input that cannot be read, or holds something else. */
export class InputUnreadable extends Schema.TaggedError<InputUnreadable>()("InputUnreadable", {
  input: Schema.String,
  path: Schema.String,
  problem: Schema.String,
}) {
  readonly exitCode = 2
  override get message() {
    return `input ${this.input}: cannot read ${this.path}: ${this.problem}`
  }
}

/** A `--set` that is not `NODE.PARAM=VALUE`. */
export class SetMalformed extends Schema.TaggedError<SetMalformed>()("SetMalformed", {
  given: Schema.String,
}) {
  readonly exitCode = 2
  override get message() {
    return `--set ${this.given} is not of the form NODE.PARAM=VALUE, such as --set standardize.crf=18`
  }
}

/** `--set` for a node that the graph does not have. */
export class NodeUnknown extends Schema.TaggedError<NodeUnknown>()("NodeUnknown", {
  graph: Schema.String,
  node: Schema.String,
  nodes: Names,
}) {
  readonly exitCode = 2
  override get message() {
    return `graph ${this.graph} has no node ${this.node}; it has ${listed(this.nodes)}.${Suggest.sentence(this.node, this.nodes)}`
  }
}

/** `--set` for a param that the node's operator does not have. */
export class ParamUnknown extends Schema.TaggedError<ParamUnknown>()("ParamUnknown", {
  node: Schema.String,
  param: Schema.String,
  params: Names,
}) {
  readonly exitCode = 2
  override get message() {
    return this.params.length === 0
      ? `${this.node} has no param ${this.param}: it takes no params`
      : `${this.node} has no param ${this.param}; it has ${listed(this.params)}.${Suggest.sentence(this.param, this.params)}`
  }
}

/** `--set` with a value that the param does not take. */
export class ParamWrong extends Schema.TaggedError<ParamWrong>()("ParamWrong", {
  param: Schema.String,
  wants: Schema.String,
  got: Schema.String,
}) {
  readonly exitCode = 2
  override get message() {
    return `--set ${this.param}: wants ${this.wants}, got ${this.got}`
  }
}

/** A place where no store can be. */
export class StoreUnsupported extends Schema.TaggedError<StoreUnsupported>()("StoreUnsupported", {
  store: Schema.String,
  problem: Schema.String,
}) {
  readonly exitCode = 2
  override get message() {
    return `--store ${this.store}: ${this.problem}`
  }
}

/** A command that reads a store, where there is none. */
export class StoreMissing extends Schema.TaggedError<StoreMissing>()("StoreMissing", {
  store: Schema.String,
}) {
  readonly exitCode = 2
  override get message() {
    return `there is no store at ${this.store}; run a graph first, or give the folder of another one with --store`
  }
}

/** No run of the store has this name. */
export class RunUnknown extends Schema.TaggedError<RunUnknown>()("RunUnknown", {
  run: Schema.String,
  store: Schema.String,
  runs: Names,
}) {
  readonly exitCode = 2
  override get message() {
    return this.runs.length === 0
      ? `there is no run ${this.run}: the store ${this.store} has no runs yet`
      : `there is no run ${this.run} in the store ${this.store}.${Suggest.sentence(this.run, this.runs)} \`reel runs\` lists them`
  }
}

/** A prefix that several runs or items share. */
export class Ambiguous extends Schema.TaggedError<Ambiguous>()("Ambiguous", {
  what: Schema.String,
  given: Schema.String,
  matches: Names,
}) {
  readonly exitCode = 2
  override get message() {
    return `${this.given} may be any of several ${this.what}: ${listed(this.matches)}; give more of it`
  }
}

/** Neither a file that the store knows, nor an item or artifact in it. */
export class ItemUnknown extends Schema.TaggedError<ItemUnknown>()("ItemUnknown", {
  given: Schema.String,
  store: Schema.String,
  why: Schema.String,
}) {
  readonly exitCode = 2
  override get message() {
    return `${this.given}: ${this.why} (store ${this.store})`
  }
}

/** Flags that contradict each other or the command. */
export class FlagsConflict extends Schema.TaggedError<FlagsConflict>()("FlagsConflict", {
  problem: Schema.String,
}) {
  readonly exitCode = 2
  override get message() {
    return this.problem
  }
}

/** A file in the way of what `--out` has to write. */
export class OutputTaken extends Schema.TaggedError<OutputTaken>()("OutputTaken", {
  file: Schema.String,
  why: Schema.String,
}) {
  readonly exitCode = 2
  override get message() {
    return `--out: ${this.file} ${this.why}; move it away, or give another folder`
  }
}

/** A model file that is not there. */
export class ModelMissing extends Schema.TaggedError<ModelMissing>()("ModelMissing", {
  option: Schema.Literals(["model", "vae", "initial"]),
  file: Schema.String,
  /** Whether it is the one that comes with the repository. */
  isDefault: Schema.Boolean,
}) {
  readonly exitCode = 2
  override get message() {
    const denoiser = this.option === "initial" ? "--initial" : "--model"
    const what = this.option === "vae" ? "its autoencoder" : "a denoiser"
    return this.isDefault
      ? `there is no ${this.file}; give the files of a denoiser and of its autoencoder with ${denoiser} FILE and --vae FILE`
      : `--${this.option}: ${this.file} is no file; give that of ${what} (${denoiser} FILE --vae FILE)`
  }
}
