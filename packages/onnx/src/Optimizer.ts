/**
 * AdamW inside the graph (Loshchilov and Hutter 2019, "Decoupled Weight Decay Regularization"), with clipping by
 * the global norm and an exponential moving average of the parameters.
 *
 * With g the clipped gradient, t = step + 1 and lr the schedule at step:
 *
 *     m' = b1 m + (1 - b1) g          v' = b2 v + (1 - b2) g^2
 *     p' = p (1 - lr wd) - lr (m' / (1 - b1^t)) / (sqrt(v' / (1 - b2^t)) + eps)
 *
 * On a CPU every operation is a pass over memory, so the state holds M = m / (1 - b1) and V = v / (1 - b2), and
 * all that depends only on the step is folded into two numbers, computed in float64:
 *
 *     M' = b1 M + g                   V' = b2 V + g^2
 *     p' = p (1 - lr wd) - k1 M' / (sqrt(V') + k2),  k2 = eps / s,  k1 = lr (1 - b1) / (1 - b1^t) / s,
 *     s = sqrt((1 - b2) / (1 - b2^t))
 *
 * The moments PyTorch would hold are M (1 - b1) and V (1 - b2).
 */
import type { Float } from "./DType.ts"
import * as Ops from "./Ops.ts"
import type { Schedule } from "./Schedule.ts"
import type { Value } from "./Value.ts"

export const defaultWeightDecay = 0.01

export interface AdamW {
  readonly schedule: Schedule
  /** @default 0.9 */
  readonly beta1?: number
  /** @default 0.999 */
  readonly beta2?: number
  /** @default 1e-8 */
  readonly epsilon?: number
  /** For parameters that decay. @default 0.01 */
  readonly weightDecay?: number
  /** The largest global norm of the gradient; what is longer is scaled down to it. @default none */
  readonly clip?: number
}

/** What of an update is the same for every parameter: float32 scalars. */
export interface Scalars {
  readonly rate: Value<"f32">
  readonly k1: Value<"f32">
  readonly k2: Value<"f32">
  /** 1 - lr wd */
  readonly keep: Value<"f32">
}

/** The numbers of a step, given how many were made before it (i64). */
export const scalars = (step: Value<"i64">, options: AdamW): Scalars => {
  const { beta1 = 0.9, beta2 = 0.999, epsilon = 1e-8, schedule, weightDecay = defaultWeightDecay } = options
  const before = Ops.cast(step, "f64")
  const t = Ops.add(before, 1)
  const oneMinus = (x: Value<"f64">) => Ops.add(Ops.neg(x), 1)
  const correction = (beta: number) => oneMinus(Ops.pow(Ops.fullLike(t, beta), t))
  const rate = schedule.toGraph(before)
  const s = Ops.sqrt(Ops.div(Ops.fullLike(t, 1 - beta2), correction(beta2)))
  const k1 = Ops.div(Ops.div(Ops.mul(rate, 1 - beta1), correction(beta1)), s)
  const k2 = Ops.div(Ops.fullLike(s, epsilon), s)
  return {
    rate: Ops.cast(rate, "f32"),
    k1: Ops.cast(k1, "f32"),
    k2: Ops.cast(k2, "f32"),
    keep: Ops.cast(oneMinus(Ops.mul(rate, weightDecay)), "f32"),
  }
}

/** The length of all gradients together: sqrt of the sum of all squares, in float32. */
export const globalNorm = (gradients: ReadonlyArray<Value<"f32">>): Value<"f32"> =>
  Ops.sqrt(Ops.sum(gradients.map((gradient) => Ops.reduceSumSquare(gradient))))

/** The factor that brings a gradient of that length to `most`, or 1: min(1, most / (norm + 1e-6)), as PyTorch. */
export const clipFactor = (norm: Value<"f32">, most: number): Value<"f32"> =>
  Ops.min(Ops.mul(Ops.reciprocal(Ops.add(norm, 1e-6)), most), 1)

export interface Moments {
  readonly parameter: Value<"f32">
  readonly m: Value<"f32">
  readonly v: Value<"f32">
}

/** One parameter's update. */
export const update = (
  { m, parameter, v }: Moments,
  gradient: Value<"f32">,
  { k1, k2, keep }: Scalars,
  { beta1 = 0.9, beta2 = 0.999, decays }: Pick<AdamW, "beta1" | "beta2"> & { readonly decays: boolean },
): Moments => {
  const nextM = Ops.add(Ops.mul(m, beta1), gradient)
  const nextV = Ops.add(Ops.mul(v, beta2), Ops.square(gradient))
  const moved = Ops.div(Ops.mul(nextM, k1), Ops.add(Ops.sqrt(nextV), k2))
  return {
    parameter: Ops.sub(decays ? Ops.mul(parameter, keep) : parameter, moved),
    m: nextM,
    v: nextV,
  }
}

/**
 * The moving average of a parameter: e' = e + (1 - d) (p - e), with d = min(decay, (1 + step) / (10 + step)), so
 * that the first steps do not keep the initial weights for long.
 */
export const movingAverage = (
  average: Value<"f32">,
  parameter: Value<"f32">,
  weight: Value<"f32">,
): Value<"f32"> => Ops.add(average, Ops.mul(Ops.sub(parameter, average), weight))

/** 1 - d of {@link movingAverage} at a step. */
export const averageWeight = (step: Value<"i64">, decay: number): Value<"f32"> => {
  const before = Ops.cast(step, "f64")
  const early = Ops.div(Ops.add(before, 1), Ops.add(before, 10))
  return Ops.cast(Ops.add(Ops.neg(Ops.min(early, decay)), 1), "f32")
}

/** True when every one of these is a finite number. */
export const allFinite = (values: ReadonlyArray<Value<Float>>): Value<"bool"> =>
  values.map((value) => Ops.isFinite(value)).reduce(Ops.and)
