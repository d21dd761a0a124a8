/**
 * Model files: safetensors that say what they are. The weights are named as the model names them; what else is needed
 * to use them is JSON in the file's metadata under `reelgraph`: which model, its configuration, and for a denoiser
 * what it was trained to say, about which latents, and by which text encoder.
 *
 * Weights may be kept in f16 or f32, and are float32 when read. A training checkpoint is a model file that also has
 * the optimiser's state; see {@link parameters}.
 *
 * The metadata is not trusted. Numbers in it decide what is listed, allocated and built, so they are bounded twice: by
 * their schemas, and by the tensors that the file holds, before anything is made of them.
 */
import * as Half from "@reelgraph/onnx/Half"
import * as Safetensors from "@reelgraph/onnx/Safetensors"
import * as Tensor from "@reelgraph/onnx/Tensor"
import * as Effect from "effect/Effect"
import * as Schema from "effect/Schema"

import type * as Denoiser from "./Denoiser.ts"
import * as ModelWeights from "./ModelWeights.ts"
import * as ShiftVae from "./ShiftVae.ts"
import * as VideoDiT from "./VideoDiT.ts"
import * as VideoUNet from "./VideoUNet.ts"

/** The schedule that a denoiser was trained on, as data; see `NoiseSchedule`. */
export const ScheduleSpec = Schema.Union([
  Schema.Struct({ kind: Schema.tag("flow"), shift: Schema.Finite }),
  Schema.Struct({
    kind: Schema.tag("discrete"),
    betas: Schema.Literals(["linear", "scaled-linear", "cosine"]),
    betaStart: Schema.Finite,
    betaEnd: Schema.Finite,
    zeroTerminalSnr: Schema.Boolean,
  }),
])
export type ScheduleSpec = typeof ScheduleSpec.Type

/** An autoencoder. */
export const Vae = Schema.Struct({
  kind: Schema.tag("vae"),
  model: Schema.tag("ShiftVae"),
  config: ShiftVae.Config,
})
export type Vae = typeof Vae.Type

/** Of latents, along one axis. */
const Side = Schema.Int.check(Schema.isBetween({ minimum: 1, maximum: 4096 }))

/** What a denoiser was trained for. */
const training = {
  prediction: Schema.Literals(["epsilon", "sample", "v", "flow"]),
  schedule: ScheduleSpec,
  /** sha256 of the file of the autoencoder whose latents it knows. */
  vae: Schema.String,
  /** Digest of the text encoder, and how many tokens it is given. */
  textEncoder: Schema.String,
  tokens: Schema.Int.check(Schema.isBetween({ minimum: 1, maximum: 4096 })),
  /** Frames, rows and columns of the latents that it was trained on most. */
  latents: Schema.Tuple([Side, Side, Side]),
  /** Words of the captions it was trained on, sorted; absent where there are too many to list. */
  vocabulary: Schema.optionalKey(Schema.Array(Schema.String)),
}

const denoiserSpec = <const M extends string, C extends Schema.Top>(model: M, config: C) =>
  Schema.Struct({ kind: Schema.tag("denoiser"), model: Schema.tag(model), config, ...training })

/** Which denoiser, and its configuration: `{"model": "VideoDiT", "config": {...}}`. */
export const Structure = Schema.Union([
  Schema.Struct({ model: Schema.tag("VideoDiT"), config: VideoDiT.Config }),
  Schema.Struct({ model: Schema.tag("VideoUNet"), config: VideoUNet.Config }),
])
export type Structure = typeof Structure.Type

/** A denoiser: its structure, and what it was trained for. */
export const DenoiserSpec = Schema.Union([
  denoiserSpec("VideoDiT", VideoDiT.Config),
  denoiserSpec("VideoUNet", VideoUNet.Config),
])
export type DenoiserSpec = typeof DenoiserSpec.Type

export const Spec = Schema.Union([Vae, DenoiserSpec])
export type Spec = typeof Spec.Type
export type Kind = Spec["kind"]
type SpecOf<K extends Kind> = Extract<Spec, { readonly kind: K }>

/** The file is whole, but not the model that was asked for. */
export class ModelFileInvalid extends Schema.TaggedError<ModelFileInvalid>()("ModelFileInvalid", {
  path: Schema.String,
  expected: Schema.String,
  found: Schema.String,
}) {
  override get message() {
    return `${this.path} is not ${this.expected}: ${this.found}`
  }
}

export type OpenError = ModelFileInvalid | Safetensors.SafetensorsInvalid | Safetensors.SafetensorsUnreadable
export type ReadError = OpenError | ModelWeights.ReadError

const metadataKey = "reelgraph"

const named: { readonly [K in Kind]: string } = {
  vae: "the file of a video autoencoder",
  denoiser: "the file of a denoiser",
}

/** The denoiser of a structure, or that a file describes. */
export const denoiserOf = (spec: Structure): Denoiser.Denoiser =>
  spec.model === "VideoUNet" ? VideoUNet.denoiser(spec.config) : VideoDiT.denoiser(spec.config)

/** The weights that a file of this kind has. */
export const weightSpecs = (spec: Spec): ModelWeights.WeightSpecs =>
  spec.kind === "vae" ? ShiftVae.weightSpecs(spec.config) : denoiserOf(spec).weightSpecs

/** A specification whose repeated parts are all there once, and those with one of them twice. */
const repeats = (
  spec: Spec,
): { readonly once: Spec; readonly twice: ReadonlyArray<readonly [Spec, number]> } => {
  if (spec.kind === "vae") {
    const { decoder, encoder } = spec.config
    const times = [encoder.fine, encoder.coarse, decoder.fine, decoder.coarse].map(({ blocks }) => blocks)
    const of = (blocks: ReadonlyArray<number>): Spec => ({
      ...spec,
      config: {
        ...spec.config,
        encoder: {
          fine: { ...encoder.fine, blocks: blocks[0]! },
          coarse: { ...encoder.coarse, blocks: blocks[1]! },
        },
        decoder: {
          fine: { ...decoder.fine, blocks: blocks[2]! },
          coarse: { ...decoder.coarse, blocks: blocks[3]! },
        },
      },
    })
    const once = times.map(() => 1)
    return { once: of(once), twice: times.map((count, i) => [of(once.with(i, 2)), count] as const) }
  }
  const of = (layers: number): Spec =>
    spec.model === "VideoUNet"
      ? { ...spec, config: { ...spec.config, layers } }
      : { ...spec, config: { ...spec.config, layers } }
  return { once: of(1), twice: [[of(2), spec.config.layers]] }
}

/** How many weights a specification has. Counted and not listed: the number is linear in that of each repeated part. */
export const weightCount = (spec: Spec): number => {
  const listed = (each: Spec) => Object.keys(weightSpecs(each)).length
  const { once, twice } = repeats(spec)
  const least = listed(once)
  return twice.reduce((sum, [each, times]) => sum + (times - 1) * (listed(each) - least), least)
}

const decodeSpec = Schema.decodeUnknownEffect(Schema.fromJsonString(Spec))

/** What an open file says it is. */
export const specOf = Effect.fn("ModelFile.specOf")(function* <K extends Kind>(
  kind: K,
  file: Safetensors.Reader,
) {
  const expected = named[kind]
  const described = file.metadata[metadataKey]
  if (described === undefined)
    return yield* new ModelFileInvalid({
      path: file.path,
      expected,
      found: `its metadata has no "${metadataKey}"`,
    })
  const spec = yield* Effect.mapError(
    decodeSpec(described),
    (cause) => new ModelFileInvalid({ path: file.path, expected, found: cause.message }),
  )
  if (spec.kind !== kind)
    return yield* new ModelFileInvalid({ path: file.path, expected, found: `it is ${named[spec.kind]}` })
  return spec as SpecOf<K>
})

export interface Model<K extends Kind> {
  readonly spec: SpecOf<K>
  readonly weights: ModelWeights.WeightTensors
}

/** Where a training checkpoint has the moving averages of its weights, and the weights themselves. */
export const averages = "ema/"
export const parameters = "param/"

/** The same file with the names of one group of its tensors without their prefix, and no others. */
const below = (file: Safetensors.Reader, prefix: string): Safetensors.Reader => ({
  ...file,
  entries: new Map(
    [...file.entries].flatMap(([key, entry]) =>
      key.startsWith(prefix) ? [[key.slice(prefix.length), entry] as const] : [],
    ),
  ),
  read: (name, expected) => file.read(prefix + name, expected),
  readF32: (name, expected) => file.readF32(prefix + name, expected),
})

/**
 * A model of the kind that is asked for, every weight checked: of a training checkpoint the moving averages. Fails
 * with what was expected and what was found.
 */
export const read = Effect.fn("ModelFile.read")(function* <K extends Kind>(kind: K, path: string) {
  const file = yield* Safetensors.open(path)
  const spec = yield* specOf(kind, file)
  const isCheckpoint = [...file.entries.keys()].some((key) => key.startsWith(averages))
  const holding = isCheckpoint ? below(file, averages) : file
  yield* checkCount(spec, kind, holding)
  return {
    spec,
    weights: yield* ModelWeights.read(spec.model, weightSpecs(spec), holding),
  } satisfies Model<K>
}, Effect.scoped)

/** Some weights more or fewer are listed one by one; a file that has nothing like them is refused as a whole. */
const checkCount = (
  spec: Spec,
  kind: Kind,
  file: Safetensors.Reader,
): Effect.Effect<void, ModelFileInvalid> => {
  const [asked, held] = [weightCount(spec), file.entries.size]
  return asked <= 2 * held + 64
    ? Effect.void
    : new ModelFileInvalid({
        path: file.path,
        expected: named[kind],
        found: `its configuration has ${asked} weights, and it holds ${held} tensors`,
      })
}

const encodeSpec = Schema.encodeSync(Schema.fromJsonString(Spec))

/** The metadata that says what a file is. */
export const metadata = (spec: Spec): { readonly [key: string]: string } => ({
  [metadataKey]: encodeSpec(spec),
})

const halved = ({ data, shape }: Tensor.Tensor<"f32">): Tensor.Tensor =>
  Tensor.make("f16", shape, Half.fromFloat32("f16", data))

/** A file of weights alone, in half precision unless asked otherwise. */
export const write = (
  path: string,
  { spec, weights }: { readonly spec: Spec; readonly weights: ModelWeights.WeightTensors },
  precision: "f16" | "f32" = "f16",
): Effect.Effect<void, Safetensors.SafetensorsUnreadable> =>
  Safetensors.write(path, {
    tensors:
      precision === "f32"
        ? weights
        : Object.fromEntries(Object.entries(weights).map(([key, tensor]) => [key, halved(tensor)])),
    metadata: metadata(spec),
  })
