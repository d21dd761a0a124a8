/**
 * Muon inside the graph: the momentum of a matrix, made orthogonal, is its update (Jordan et al. 2024, "Muon: An
 * optimizer for hidden layers in neural networks"). For the matrices between layers; embeddings, gains, biases and
 * the output keep AdamW.
 *
 * With g the clipped gradient, mu the momentum, lr the schedule at the step:
 *
 *     m' = mu m + (1 - mu) g          u = mu m' + (1 - mu) g   (Nesterov; otherwise m')
 *     p' = p (1 - lr wd) - lr s O(u)
 *
 * s is 0.2 sqrt(max(rows, columns)) by default (Liu et al. 2025, "Muon is Scalable for LLM Training"): the root mean
 * square of an update is then that of AdamW's, so that both share a schedule and a weight decay.
 *
 * O(u) is five Newton-Schulz iterations from X = u / max(|u|, 1e-7), |u| the Frobenius norm, in float32:
 *
 *     A = X X^T,  X' = Q(A) X,  Q(A) = a I + b A + c A^2,  (a, b, c) = (3.4445, -4.775, 2.0315)
 *
 * which brings singular values to about 0.7..1.2. A matrix with more rows than columns goes as its transpose:
 * A = X^T X, X' = X Q(A).
 *
 * What is passed over is what costs, beside the products:
 *
 * - The state holds M = m / (1 - mu), so M' = mu M + g and u / (1 - mu) = mu M' + g. O does not see the factor.
 * - No pass divides by the norm: |u|^2 is the trace of u u^T, which the first A needs anyhow; the factors of X and of
 *   the update go to the small square matrices.
 * - The last product adds itself to the decayed parameter.
 * - Q(A) commutes with A, so A' = A Q(A)^2 needs no X. For matrices longer than wide by half, three iterations and
 *   then two are made on A alone, and X is multiplied by the product of their Q: 4 r + 14 products of the short side
 *   against 10 r + 5, r the ratio of the sides. (All five on A alone lose three digits where singular values are
 *   small; as it is, the largest difference from float64 measured is 1e-5 of the update, as without.)
 *
 * The momentum PyTorch would hold is M (1 - mu). `torch.optim.Muon` runs the iterations in bfloat16.
 */
import * as Ops from "./Ops.ts"
import type { Schedule } from "./Schedule.ts"
import * as Tensor from "./Tensor.ts"
import type { Value } from "./Value.ts"

export interface Muon {
  /** @default the one of AdamW */
  readonly schedule?: Schedule
  /** @default 0.95 */
  readonly momentum?: number
  /** Whether the update looks ahead along the momentum. @default true */
  readonly nesterov?: boolean
  /** For parameters that decay. @default the one of AdamW */
  readonly weightDecay?: number
  /**
   * How the rate follows the shape: by 0.2 sqrt(max(rows, columns)), or as first published by
   * sqrt(max(1, rows / columns)), which needs rates about ten times those of AdamW.
   * @default "match_rms_adamw"
   */
  readonly scaling?: "match_rms_adamw" | "original"
}

type F32 = Value<"f32">

/** What of an update is the same for every matrix: float32 scalars. */
export interface Scalars {
  readonly rate: F32
  /** 1 - lr wd */
  readonly keep: F32
}

/** The numbers of a step, given how many were made before it (i64). */
export const scalars = (
  step: Value<"i64">,
  { schedule, weightDecay }: { readonly schedule: Schedule; readonly weightDecay: number },
): Scalars => {
  const rate = schedule.toGraph(Ops.cast(step, "f64"))
  return {
    rate: Ops.cast(rate, "f32"),
    keep: Ops.cast(Ops.add(Ops.neg(Ops.mul(rate, weightDecay)), 1), "f32"),
  }
}

export interface Momentum {
  /** `[rows, columns]` */
  readonly parameter: F32
  readonly m: F32
}

const [a, b, c] = [3.4445, -4.775, 2.0315]

/** Least length that a momentum is divided by. */
const epsilon = 1e-7

/** Ones on the diagonal, `[size, size]`. The runtime makes it once, when it opens the graph. */
const identity = (size: number): F32 => {
  const places = Array.from({ length: size }, (_, i) => i)
  const [rows, columns] = [Tensor.i64([size, 1], places), Tensor.i64([1, size], places)]
  return Ops.cast(Ops.equal(Ops.constant(rows), Ops.constant(columns)), "f32")
}

/** How many iterations are made on the square matrix alone before X is multiplied. */
const groupsOf = (short: number, long: number): readonly [number, ...ReadonlyArray<number>] =>
  long > 1.5 * short ? [3, 2] : [1, 1, 1, 1, 1]

/** a I + b A + c A^2 */
const polynomial = (gram: F32, one: F32): F32 =>
  Ops.gemm(gram, Ops.add(Ops.mul(gram, c), Ops.mul(one, b)), Ops.mul(one, a))

/** The product of the Q of `count` iterations that begin with A = `gram`. */
const iterations = (gram: F32, count: number, one: F32): F32 => {
  let product = polynomial(gram, one)
  let [now, q] = [gram, product]
  for (let i = 1; i < count; i++) {
    now = Ops.gemm(Ops.gemm(now, q), q)
    q = polynomial(now, one)
    product = Ops.gemm(q, product)
  }
  return product
}

/** `base + factor O(x)`; `least` is the least length that x is divided by. */
const addOrthogonal = (base: F32, x: F32, factor: F32, least: number): F32 => {
  const [rows, columns] = x.shape as readonly [number, number]
  const wide = rows <= columns
  const gramOf = (x: F32) => Ops.gemm(x, x, undefined, wide ? { transposeB: true } : { transposeA: true })
  const times = (q: F32, x: F32, bias?: F32) => (wide ? Ops.gemm(q, x, bias) : Ops.gemm(x, q, bias))
  const [short, long] = wide ? [rows, columns] : [columns, rows]
  const one = identity(short)

  const raw = gramOf(x)
  const squared = Ops.max(Ops.reduceSum(Ops.mul(raw, one)), least * least)
  const normalized = Ops.mul(raw, Ops.reciprocal(squared))
  const [first, ...rest] = groupsOf(short, long)
  let now = times(Ops.mul(iterations(normalized, first, one), Ops.rsqrt(squared)), x)
  for (const count of rest.slice(0, -1)) now = times(iterations(gramOf(now), count, one), now)
  return times(Ops.mul(iterations(gramOf(now), rest.at(-1)!, one), factor), now, base)
}

/** One matrix's update. */
export const update = (
  { m, parameter }: Momentum,
  gradient: F32,
  { keep, rate }: Scalars,
  {
    decays,
    momentum = 0.95,
    nesterov = true,
    scaling = "match_rms_adamw",
  }: Pick<Muon, "momentum" | "nesterov" | "scaling"> & { readonly decays: boolean },
): Momentum => {
  const [rows, columns] = parameter.shape as readonly [number, number]
  const next = Ops.add(Ops.mul(m, momentum), gradient)
  const ahead = nesterov ? Ops.add(Ops.mul(next, momentum), gradient) : next
  const factor =
    scaling === "original" ? Math.sqrt(Math.max(1, rows / columns)) : 0.2 * Math.sqrt(Math.max(rows, columns))
  const base = decays ? Ops.mul(parameter, keep) : parameter
  return {
    parameter: addOrthogonal(base, ahead, Ops.mul(rate, -factor), epsilon / (1 - momentum)),
    m: next,
  }
}
