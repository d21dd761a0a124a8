/**
 * The weights of a model: which there have to be, whether those of a checkpoint are, and new ones for training.
 *
 * A model declares its weights as plain data, by the names of the published checkpoints (diffusers' layout). The
 * declaration is also what `TrainStep` takes as parameters.
 */
import * as CounterRandom from "@reelgraph/core/CounterRandom"
import * as DType from "@reelgraph/onnx/DType"
import * as Half from "@reelgraph/onnx/Half"
import type * as Safetensors from "@reelgraph/onnx/Safetensors"
import * as Shape from "@reelgraph/onnx/Shape"
import * as Tensor from "@reelgraph/onnx/Tensor"
import type * as TensorGraph from "@reelgraph/onnx/TensorGraph"
import * as Weights from "@reelgraph/onnx/Weights"
import type { Value } from "@reelgraph/onnx/Value"
import * as Effect from "effect/Effect"
import * as Schema from "effect/Schema"

/** How a weight begins: all the same, uniform in `[-limit, limit)`, or normal with a standard deviation. */
export type Initial = "zeros" | "ones" | { readonly uniform: number } | { readonly normal: number }

export interface WeightSpec {
  readonly shape: ReadonlyArray<number>
  /** Whether weight decay applies: not to biases, gains and modulation tables. */
  readonly decays: boolean
  readonly initial: Initial
}

export type WeightSpecs = { readonly [key: string]: WeightSpec }

/** Weights in a graph. */
export type WeightValues = { readonly [key: string]: Value<"f32"> }

/** Weights outside of it. */
export type WeightTensors = { readonly [key: string]: Tensor.Tensor<"f32"> }

/** How many tensors and how many numbers. */
export const count = (specs: WeightSpecs): { readonly keys: number; readonly parameters: number } => {
  const all = Object.values(specs)
  return { keys: all.length, parameters: all.reduce((sum, { shape }) => sum + Shape.size(shape), 0) }
}

/** The specs with `prefix` in front of every key. */
export const within = (prefix: string, specs: WeightSpecs): WeightSpecs =>
  Object.fromEntries(Object.entries(specs).map(([key, spec]) => [`${prefix}.${key}`, spec]))

/** Those of `weights` that the specs name. */
export const pick = <A>(
  specs: WeightSpecs,
  weights: { readonly [key: string]: A },
): { readonly [key: string]: A } =>
  Object.fromEntries(Object.entries(weights).filter(([key]) => Object.hasOwn(specs, key)))

const kinds = ["Missing", "Extra", "Shape", "DType", "NotFinite"] as const

/** One weight that is not what the model takes. */
export const Mismatch = Schema.Struct({
  key: Schema.String,
  reason: Schema.Literals(kinds),
  expected: Schema.String,
  found: Schema.String,
})
export type Mismatch = typeof Mismatch.Type

const shown = 8

/** Weights are not those of the model. Lists every mismatch, not only the first. */
export class WeightsMismatch extends Schema.TaggedError<WeightsMismatch>()("WeightsMismatch", {
  model: Schema.String,
  mismatches: Schema.Array(Mismatch),
}) {
  override get message() {
    const lines = this.mismatches
      .slice(0, shown)
      .map(({ expected, found, key }) => `${key}: expected ${expected}, found ${found}`)
    const more = this.mismatches.length - lines.length
    return [
      `the weights are not those of ${this.model}; check its configuration against the checkpoint's`,
      ...lines,
      ...(more > 0 ? [`and ${more} more`] : []),
    ].join("\n  ")
  }
}

const show = (dtype: string, shape: Shape.Shape) => `${dtype} ${Shape.show(shape)}`

const missing = (key: string, { shape }: WeightSpec): Mismatch => ({
  key,
  reason: "Missing",
  expected: show("f32", shape),
  found: "nothing",
})

/** What names, types and shapes alone tell. */
const declaredMismatches = (
  specs: WeightSpecs,
  found: { readonly [key: string]: { readonly dtype: DType.DType; readonly shape: Shape.Shape } },
): ReadonlyArray<Mismatch> => {
  const wrong = Object.entries(specs).flatMap(([key, spec]): ReadonlyArray<Mismatch> => {
    const other = Object.hasOwn(found, key) ? found[key] : undefined
    if (other === undefined) return [missing(key, spec)]
    if (!DType.isFloat(other.dtype))
      return [{ key, reason: "DType", expected: "a floating point type", found: other.dtype }]
    return Shape.equal(spec.shape, other.shape)
      ? []
      : [
          {
            key,
            reason: "Shape",
            expected: show("f32", spec.shape),
            found: show(other.dtype, other.shape),
          },
        ]
  })
  const extra = Object.entries(found)
    .filter(([key]) => !Object.hasOwn(specs, key))
    .map(([key, { dtype, shape }]): Mismatch => ({
      key,
      reason: "Extra",
      expected: "no weight of this name",
      found: show(dtype, shape),
    }))
  return [...wrong, ...extra]
}

const notFinite = (key: string, { data }: Tensor.Tensor<"f32">): ReadonlyArray<Mismatch> => {
  const at = data.findIndex((value) => !Number.isFinite(value))
  return at < 0
    ? []
    : [{ key, reason: "NotFinite", expected: "finite numbers", found: `${data[at]} at element ${at}` }]
}

const toF32 = ({ data, dtype, shape }: Tensor.Tensor): Tensor.Tensor<"f32"> =>
  Tensor.make(
    "f32",
    shape,
    dtype === "f16" || dtype === "bf16"
      ? Half.toFloat32(dtype, data as Uint16Array)
      : dtype === "f32"
        ? (data as Float32Array)
        : Float32Array.from(data as Float64Array),
  )

/** Fails with every mismatch in names, types, shapes and values; otherwise the weights in float32. */
export const check = (
  model: string,
  specs: WeightSpecs,
  tensors: { readonly [key: string]: Tensor.Tensor },
): Effect.Effect<WeightTensors, WeightsMismatch> =>
  Effect.suspend(() => {
    const declared = declaredMismatches(specs, tensors)
    if (declared.length > 0) return new WeightsMismatch({ model, mismatches: declared })
    const weights = Object.fromEntries(Object.keys(specs).map((key) => [key, toF32(tensors[key]!)]))
    const values = Object.entries(weights).flatMap(([key, tensor]) => notFinite(key, tensor))
    return values.length > 0 ? new WeightsMismatch({ model, mismatches: values }) : Effect.succeed(weights)
  })

export type ReadError =
  | WeightsMismatch
  | Safetensors.TensorMissing
  | Safetensors.TensorMismatch
  | Safetensors.SafetensorsInvalid
  | Safetensors.SafetensorsUnreadable

/** The weights of an open file; its header is checked before anything of its data is read. */
export const read = Effect.fn("ModelWeights.read")(function* (
  model: string,
  specs: WeightSpecs,
  file: Safetensors.Reader,
) {
  const mismatches = declaredMismatches(specs, Object.fromEntries(file.entries))
  if (mismatches.length > 0) return yield* new WeightsMismatch({ model, mismatches })
  const tensors: Record<string, Tensor.Tensor> = {}
  for (const key of Object.keys(specs)) tensors[key] = yield* file.readF32(key)
  return yield* check(model, specs, tensors)
}) satisfies (
  model: string,
  specs: WeightSpecs,
  file: Safetensors.Reader,
) => Effect.Effect<WeightTensors, ReadError>

/**
 * A graph with the specs' inputs replaced by tensors, of which there may be more. Throws `WeightsMismatch`. `I` is
 * what stays to be fed.
 */
export const bind = <I extends TensorGraph.Values, O extends TensorGraph.Values>(
  model: string,
  specs: WeightSpecs,
  graph: TensorGraph.TensorGraph<WeightValues & I, O>,
  tensors: WeightTensors,
): TensorGraph.TensorGraph<I, O> => {
  const own = pick(specs, tensors)
  const mismatches = declaredMismatches(specs, own)
  if (mismatches.length > 0) throw new WeightsMismatch({ model, mismatches })
  return Weights.bind(graph, own as never) as unknown as TensorGraph.TensorGraph<I, O>
}

/** Refuses values in a graph that are not the model's. Throws `WeightsMismatch`, as graph authoring does. */
export const verify = (model: string, specs: WeightSpecs, values: WeightValues): void => {
  const mismatches = declaredMismatches(specs, values)
  if (mismatches.length > 0) throw new WeightsMismatch({ model, mismatches })
}

/** Two normal numbers of two uniform ones (Box and Muller 1958). */
const normals = (key: CounterRandom.Key, length: number, deviation: number): Float32Array => {
  const uniforms = CounterRandom.uniforms(key, 2 * Math.ceil(length / 2))
  return Float32Array.from({ length }, (_, i) => {
    const even = i - (i % 2)
    const radius = deviation * Math.sqrt(-2 * Math.log(1 - uniforms[even]!))
    const angle = 2 * Math.PI * uniforms[even + 1]!
    return radius * (i % 2 === 0 ? Math.cos(angle) : Math.sin(angle))
  })
}

const initialTensor = (seed: number, key: string, { initial, shape }: WeightSpec): Tensor.Tensor<"f32"> => {
  const size = Shape.size(shape)
  if (initial === "zeros") return Tensor.zeros("f32", shape)
  if (initial === "ones") return Tensor.make("f32", shape, new Float32Array(size).fill(1))
  const random = CounterRandom.key(seed, key, "initialize")
  if ("normal" in initial) return Tensor.make("f32", shape, normals(random, size, initial.normal))
  const values = Float32Array.from(CounterRandom.uniforms(random, size), (u) => (2 * u - 1) * initial.uniform)
  return Tensor.make("f32", shape, values)
}

/**
 * New weights to train from. What a weight gets depends on the seed and its key alone, not on the other weights
 * nor on any order.
 */
export const initialize = (specs: WeightSpecs, seed: number): WeightTensors =>
  Object.fromEntries(Object.entries(specs).map(([key, spec]) => [key, initialTensor(seed, key, spec)]))
