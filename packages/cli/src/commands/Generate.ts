/** `reel generate`: from a prompt to an mp4. A shorthand for running the graph `generate` on one prompt. */
import { basename, extname, join } from "node:path"

import type { Graph, Port } from "@reelgraph/core"
import { Engine } from "@reelgraph/engine"
import { type Artifact, BlobStore, Journal } from "@reelgraph/store"
import * as Clock from "effect/Clock"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Schema from "effect/Schema"
import * as Stream from "effect/Stream"

import * as Ends from "../Ends.ts"
import * as Format from "../Format.ts"
import * as GraphSource from "../GraphSource.ts"
import * as Installed from "../Installed.ts"
import * as LostBlobs from "../LostBlobs.ts"
import * as Outputs from "../Outputs.ts"
import * as Progress from "../Progress.ts"
import * as RunReport from "../RunReport.ts"
import { TerminalOutput } from "../TerminalOutput.ts"
import * as Settings from "../Settings.ts"
import * as DefaultModels from "../DefaultModels.ts"
import * as StoreFolder from "../StoreFolder.ts"
import type { Task } from "../Task.ts"

export interface Options {
  readonly prompt: string
  readonly negative: string
  readonly seed: number
  readonly count: number
  readonly out: string | undefined
  readonly model: string | undefined
  readonly vae: string | undefined
  readonly set: ReadonlyArray<string>
  readonly store: string
  readonly json: boolean
}

/** Something about the prompt because of which nothing is made. */
export class PromptRefused extends Schema.TaggedError<PromptRefused>()("PromptRefused", {
  /** `prompt-empty`, `prompt-too-long`, `prompt-language`, `prompt-unknown` */
  reason: Schema.String,
  problem: Schema.String,
}) {
  override get message() {
    return `${this.reason}: ${this.problem}`
  }
}

/** A node failed: a model file, or the sampling itself. */
export class GenerationFailed extends Schema.TaggedError<GenerationFailed>()("GenerationFailed", {
  node: Schema.String,
  error: Schema.String,
  problem: Schema.String,
}) {
  override get message() {
    return `${this.node}: ${this.error}: ${this.problem}`
  }
}

/** One video, as it is told. */
export interface Generated {
  readonly file: string
  readonly sha256: string
  readonly bytes: number
  readonly sample: number
  readonly width: number
  readonly height: number
  readonly fps: number
  readonly frames: number
  /** Digest of the item, for `reel lineage`. */
  readonly item: string
}

/** `out/a-red-ball-rises-7.mp4`; several are told apart by their number. */
const filesOf = ({ count, out, prompt, seed }: Options): ReadonlyArray<string> => {
  const slug = Outputs.fileName(prompt.toLowerCase()).slice(0, 48).replace(/-+$/, "")
  const file = out ?? join("out", `${slug === "" ? "video" : slug}-${seed}.mp4`)
  const kind = extname(file)
  const base = file.slice(0, file.length - kind.length)
  return count === 1 ? [file] : Array.from({ length: count }, (_, sample) => `${base}-${sample}${kind}`)
}

export const run: (options: Options) => Task = Effect.fn("reel.generate")(function* (options: Options) {
  const model = yield* DefaultModels.file("model", options.model, DefaultModels.denoiser)
  const vae = yield* DefaultModels.file("vae", options.vae, DefaultModels.vae)
  const found = yield* GraphSource.find("generate")
  const graph = yield* Settings.apply(found.graph, options.set)
  const services = Installed.executor(options.store).pipe(
    Layer.provideMerge(StoreFolder.layer(options.store)),
  )
  yield* Effect.provide(execute(graph, { denoiser: model, vae }, options), services)
})

/** The one record of a file. */
const recordOf = (port: Port.Any, file: string) => {
  const { mediaType, record } = port.files!
  return Stream.fromEffect(
    BlobStore.use((blobs) =>
      Effect.map(blobs.reference(file, mediaType), (made) => record(made, basename(file))),
    ),
  )
}

const execute = Effect.fnUntraced(function* (
  graph: Graph.Graph,
  models: { readonly denoiser: string; readonly vae: string },
  options: Options,
) {
  const { count, negative, prompt, seed, store } = options
  const files = filesOf(options)
  // Told before anything runs.
  yield* Effect.forEach(files, (file) => Outputs.checkFile(file), { discard: true })
  const journal = yield* Journal
  const screen = yield* TerminalOutput
  const begunMs = yield* Clock.currentTimeMillis
  const once = (taken: Engine.Inputs | undefined) =>
    Effect.scoped(
      Effect.gen(function* () {
        const { observe } = yield* Progress.show({ prompts: count, denoiser: 1, vae: 1 })
        const prompts = Array.from({ length: count }, (_, sample) => ({ prompt, negative, sample }))
        const inputs = {
          prompts: Stream.fromIterable(prompts),
          denoiser: recordOf(graph.inputs["denoiser"]!, models.denoiser),
          vae: recordOf(graph.inputs["vae"]!, models.vae),
        }
        return yield* Engine.run(graph, taken ?? inputs, { ...(yield* Ends.watched(graph)), seed, observe })
      }),
    )
  const ran = LostBlobs.mended(graph, once).pipe(
    Effect.onInterrupt(() =>
      Effect.sync(() =>
        screen.tell(
          `reel: interrupted; what is done is kept in ${store}: the same command goes on from there`,
        ),
      ),
    ),
  )
  const madeBy = Effect.fnUntraced(function* (report: Engine.Report) {
    const recorded = journal.run(report.run)!
    const { dropped, failed } = RunReport.read(journal, recorded, store)
    const [refused] = dropped
    if (refused !== undefined)
      return yield* new PromptRefused({ reason: refused.reason, problem: refused.example.detail })
    const videos = journal.runItems(recorded.id, "out:videos").map((id) => ({
      item: journal.item(id)!.digest,
      record: JSON.parse(journal.item(id)!.record) as VideoRecord,
    }))
    const [failure] = failed
    if (failure !== undefined && videos.length === 0)
      return yield* new GenerationFailed({
        node: failure.node,
        error: failure.error,
        problem: failure.detail,
      })
    return { failure, report, videos: videos.toSorted((a, b) => a.record.sample - b.record.sample) }
  })
  const running = Effect.flatMap(ran, madeBy)
  const { done, written: made } = yield* LostBlobs.exported(yield* running, running, ({ videos }) =>
    Effect.gen(function* () {
      const lost = new LostBlobs.Found()
      const written = yield* Effect.forEach(
        videos,
        ({ item, record: { fps, frames, height, sample, video, width } }) =>
          Effect.gen(function* () {
            const file = files[sample]!
            yield* Outputs.replace(video, file).pipe(lost.note(video))
            const { bytes, sha256 } = video
            return { file, sha256, bytes, sample, width, height, fps, frames, item } satisfies Generated
          }),
      )
      yield* lost.check
      return written
    }),
  )
  const { failure, report } = done
  const ms = (yield* Clock.currentTimeMillis) - begunMs
  if (options.json)
    screen.print(
      JSON.stringify(
        { run: report.run, prompt, negative, seed, ms, videos: made, warnings: report.warnings },
        null,
        2,
      ),
    )
  else screen.show(lines(made, ms, store))
  if (failure !== undefined)
    return yield* new GenerationFailed({ node: failure.node, error: failure.error, problem: failure.detail })
})

interface VideoRecord extends Pick<Generated, "sample" | "width" | "height" | "fps" | "frames"> {
  readonly video: Artifact
}

const lines = (made: ReadonlyArray<Generated>, ms: number, store: string): ReadonlyArray<string> => [
  ...made.flatMap(({ bytes, file, fps, frames, height, sha256, width }) => [
    `${Format.line(file)}: ${width}x${height}, ${frames} frames, ${Format.duration((1000 * frames) / fps)}, ${Format.bytes(bytes)}`,
    `  sha256 ${sha256}`,
  ]),
  `${Format.counted(made.length, "video")} in ${Format.duration(ms)}; \`reel lineage ${Format.quoted(made[0]?.file ?? "")}${store === ".reel" ? "" : ` --store ${Format.quoted(store)}`}\` shows what it was made from`,
]
