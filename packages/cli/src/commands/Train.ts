/** `reel train`: from a folder of videos with captions to a denoiser. A shorthand for running the graph `train`. */
import { extname } from "node:path"

import { type Artifact, Journal } from "@reelgraph/store"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Schema from "effect/Schema"

import * as Format from "../Format.ts"
import * as GraphSource from "../GraphSource.ts"
import * as InputSource from "../InputSource.ts"
import * as LostBlobs from "../LostBlobs.ts"
import * as Installed from "../Installed.ts"
import * as Outputs from "../Outputs.ts"
import { TerminalOutput } from "../TerminalOutput.ts"
import * as Settings from "../Settings.ts"
import * as DefaultModels from "../DefaultModels.ts"
import * as StoreFolder from "../StoreFolder.ts"
import type { Task } from "../Task.ts"
import * as Run from "./Run.ts"

export interface Options {
  readonly videos: string
  readonly captions: string | undefined
  /** `none` begins with random weights. */
  readonly initial: string | undefined
  readonly vae: string | undefined
  readonly steps: number | undefined
  readonly out: string
  readonly set: ReadonlyArray<string>
  readonly seed: number
  readonly store: string
  readonly json: boolean
}

/** Nothing was trained: no clip was left to train on, or training itself failed. */
export class NothingTrained extends Schema.TaggedError<NothingTrained>()("NothingTrained", {
  why: Schema.String,
}) {
  override get message() {
    return `nothing was trained: ${this.why}`
  }
}

/** What `reel train` wrote. */
export interface Trained {
  readonly file: string
  readonly sha256: string
  readonly bytes: number
  /** Steps made from the beginning. */
  readonly step: number
  /** Mean loss over the last steps. */
  readonly loss: number
  readonly curve: { readonly csv: string; readonly svg: string }
  /** Digest of the item, for `reel lineage`. */
  readonly item: string
}

interface CheckpointRecord {
  readonly file: Artifact
  readonly step: number
  readonly loss: number
  readonly curveCsv: Artifact
  readonly curveSvg: Artifact
}

const none = "none"

/** Peak of the learning rate for a model that has learned something: a tenth of the graph's, which begins with nothing. */
const gentle = "train.learningRate=0.0002"

/** `out/denoiser.safetensors` and its curve beside it. */
const filesOf = (out: string) => {
  const base = out.slice(0, out.length - extname(out).length)
  return { file: out, csv: `${base}.csv`, svg: `${base}.svg` }
}

const settingsOf = ({ initial, set, steps }: Options): ReadonlyArray<string> => [
  ...(initial === none ? [] : [gentle]),
  ...(steps === undefined ? [] : [`train.steps=${steps}`]),
  ...set,
]

export const run: (options: Options) => Task = Effect.fn("reel.train")(function* (options: Options) {
  const { captions, initial, store, videos } = options
  const vae = yield* DefaultModels.file("vae", options.vae, DefaultModels.vae)
  const start = initial === none ? "" : yield* DefaultModels.file("initial", initial, DefaultModels.denoiser)
  const found = yield* GraphSource.find("train")
  const graph = yield* Settings.apply(found.graph, settingsOf(options))
  const inputs = { videos, captions: captions ?? videos, vae, initial: start }
  const prepared = yield* InputSource.prepare(
    graph,
    Object.entries(inputs).map(([name, path]) => `${name}=${path}`),
  )
  const services = Installed.executor(store).pipe(Layer.provideMerge(StoreFolder.layer(store)))
  yield* Effect.provide(execute(graph, prepared, options), services)
})

const execute = Effect.fnUntraced(function* (
  graph: GraphSource.Found["graph"],
  prepared: InputSource.Prepared,
  options: Options,
) {
  const { out, seed, store, json } = options
  const { csv, file, svg } = filesOf(out)
  // Told before anything runs.
  yield* Effect.forEach([file, csv, svg], (path) => Outputs.checkFile(path), { discard: true })
  const journal = yield* Journal
  const screen = yield* TerminalOutput
  const {
    again,
    print,
    told: first,
  } = yield* Run.complete(graph, prepared, { seed, store, json, maxFailures: undefined })
  const { done: told } = yield* LostBlobs.exported(first, again(first), (done) =>
    Effect.gen(function* () {
      const [item] = journal.runItems(journal.run(done.run)!.id, "out:checkpoint")
      if (item === undefined) return
      const { curveCsv, curveSvg, file: weights } = JSON.parse(journal.item(item)!.record) as CheckpointRecord
      const lost = new LostBlobs.Found()
      yield* Outputs.replace(weights, file).pipe(lost.note(weights))
      yield* Outputs.replace(curveCsv, csv).pipe(lost.note(curveCsv))
      yield* Outputs.replace(curveSvg, svg).pipe(lost.note(curveSvg))
      yield* lost.check
    }),
  )
  const [item] = journal.runItems(journal.run(told.run)!.id, "out:checkpoint")
  if (item === undefined) {
    if (!json) print(told)
    const [failure] = told.failed
    return yield* new NothingTrained({
      why:
        failure === undefined || told.ledger["train"]?.in === 0
          ? "no clip was left; give more videos, or looser filters with --set"
          : `${failure.node}: ${failure.error}: ${failure.detail}`,
    })
  }
  const { digest, record } = journal.item(item)!
  const { file: weights, loss, step } = JSON.parse(record) as CheckpointRecord
  const { bytes, sha256 } = weights
  const made: Trained = { file, sha256, bytes, step, loss, curve: { csv, svg }, item: digest }
  if (json) screen.print(JSON.stringify({ ...told, checkpoint: made }, null, 2))
  else {
    print(told)
    screen.show(["", ...lines(made)])
  }
  yield* Run.ended(told)
})

const lines = ({ bytes, curve, file, loss, sha256, step }: Trained): ReadonlyArray<string> => [
  `${Format.line(file)}: ${Format.counted(step, "step")}, loss ${loss.toFixed(4)}, ${Format.bytes(bytes)}`,
  `  sha256 ${sha256}`,
  `  its loss by step is in ${Format.line(curve.csv)}, drawn in ${Format.line(curve.svg)}`,
  `\`reel generate "..." --model ${Format.quoted(file)}\` makes videos with it`,
]
