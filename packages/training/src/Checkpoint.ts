/**
 * Training checkpoints: model files (see `ModelFile`) with the whole state of the optimiser, from which training goes
 * on to the last bit. Random numbers are functions of a key and the step (Philox 4x32-10), so the key in the metadata
 * and the step in the state are all of their state.
 */
import type * as CounterRandom from "@reelgraph/core/CounterRandom"
import * as ModelFile from "@reelgraph/models/ModelFile"
import * as Safetensors from "@reelgraph/onnx/Safetensors"
import * as Shape from "@reelgraph/onnx/Shape"
import type * as Tensor from "@reelgraph/onnx/Tensor"
import type * as Trainer from "@reelgraph/onnx/Trainer"
import type * as TrainStep from "@reelgraph/onnx/TrainStep"
import * as Effect from "effect/Effect"

/** The names of the state, and what each has to be. */
export type StepLike = Pick<TrainStep.TrainStep, "state" | "single">

/** Writes a checkpoint beside its place first, so that a reader, or a crash, never meets half of one. */
export const write = (
  path: string,
  spec: ModelFile.Spec,
  state: Trainer.State,
  { k0, k1 }: CounterRandom.Key,
): Effect.Effect<void, Safetensors.SafetensorsUnreadable> =>
  Safetensors.write(path, {
    tensors: state,
    metadata: { ...ModelFile.metadata(spec), random: JSON.stringify({ philox: [k0, k1] }) },
  })

/** Whether an open file has an optimiser's state beside weights. */
export const isIn = (file: Pick<Safetensors.Reader, "entries">): boolean => file.entries.has("step")

export interface Checkpoint<K extends ModelFile.Kind> {
  readonly spec: Extract<ModelFile.Spec, { readonly kind: K }>
  readonly state: Trainer.State
  readonly step: number
}

/**
 * The state of a checkpoint, for a step of the same model: every tensor's type, shape and finiteness is checked
 * before any of it is used. What the file has and the step does not want is an error too.
 */
export const read = Effect.fn("Checkpoint.read")(function* <K extends ModelFile.Kind>(
  kind: K,
  path: string,
  { single, state: names }: StepLike,
) {
  const file = yield* Safetensors.open(path)
  const spec = yield* ModelFile.specOf(kind, file)
  const expected = `a checkpoint of ${single.name}`
  const extra = [...file.entries.keys()].find((name) => !names.includes(name))
  if (extra !== undefined)
    return yield* new ModelFile.ModelFileInvalid({
      path,
      expected,
      found: `it has ${extra}, which is no part of that state`,
    })
  const state: Record<string, Tensor.Tensor> = {}
  for (const name of names) {
    const { dtype, shape } = single.inputs[name]!
    if (!Shape.isStatic(shape)) continue
    state[name] = yield* file.read(name, { dtype, shape, finite: true })
  }
  return { spec, state, step: Number(state["step"]!.data[0]) } satisfies Checkpoint<K>
}, Effect.scoped)
