/**
 * Tensor specs: what the payload behind a port looks like, as types and as data.
 *
 * A dimension is a number, or a symbol (`"H"`) that may be scaled by whole numbers (`"H/8"`, `"T*2"`). The
 * compiler compares what is literal on both sides; `Verify` solves the rest over the whole graph.
 */
import * as Schema from "effect/Schema"

export const DType = Schema.Literals(["u8", "i32", "i64", "f16", "bf16", "f32", "f64", "bool"])
export type DType = typeof DType.Type

/** A number, a symbol, or a scaled symbol: `720`, `"H"`, `"H/8"`. */
export type Dim = number | string

export const Dim = Schema.Union([
  Schema.Int.check(Schema.isGreaterThan(0)),
  Schema.String.check(
    Schema.isPattern(/^[A-Za-z_][A-Za-z0-9_.]*([*/][1-9][0-9]*)*$/u, {
      expected: 'a dimension such as 720, "H" or "H/8"',
    }),
  ),
])

/** Colour range of pixel values: `limited` (16-235) or `full` (0-255). */
export const Range = Schema.Literals(["limited", "full"])

/**
 * The facts of one tensor. `space` is what its numbers mean: `"pixels"`, or the VAE whose latents they are
 * (`"tiny-vae@1"`). An absent `space`, `fps` or `range` on an input accepts any.
 */
export const Tensor = Schema.Struct({
  dtype: DType,
  shape: Schema.Array(Dim),
  space: Schema.optionalKey(Schema.String),
  fps: Schema.optionalKey(Schema.Finite.check(Schema.isGreaterThan(0))),
  range: Schema.optionalKey(Range),
}).annotate({ identifier: "Tensor" })

/** The data of a tensor spec. */
export interface Tensor {
  readonly dtype: DType
  readonly shape: ReadonlyArray<Dim>
  readonly space?: string
  readonly fps?: number
  readonly range?: "limited" | "full"
}

/** A tensor spec whose literals the compiler keeps. */
export const make = <const T extends Tensor>(spec: T): T => spec

/** `u8 [T, 3, 720, 1280] in pixels at 24 fps, limited range` */
export const show = (tensor: Tensor): string =>
  `${tensor.dtype} [${tensor.shape.join(", ")}]` +
  (tensor.space === undefined ? "" : ` in ${tensor.space}`) +
  (tensor.fps === undefined ? "" : ` at ${tensor.fps} fps`) +
  (tensor.range === undefined ? "" : `, ${tensor.range} range`)

type Join<S extends ReadonlyArray<Dim>> = S extends readonly [
  infer H extends Dim,
  ...infer R extends ReadonlyArray<Dim>,
]
  ? R extends readonly []
    ? `${H}`
    : `${H}, ${Join<R>}`
  : ""

/** `show`, for the compiler. */
export type Show<T extends Tensor> = `${T["dtype"]} [${Join<T["shape"]>}]${T extends {
  space: infer S extends string
}
  ? ` in ${S}`
  : ""}${T extends { fps: infer F extends number } ? ` at ${F} fps` : ""}${T extends {
  range: infer R extends string
}
  ? `, ${R} range`
  : ""}`

type DimFits<Given, Taken> = Taken extends string
  ? true
  : Given extends string
    ? true
    : Given extends Taken
      ? true
      : false

type ShapeFits<Given extends ReadonlyArray<Dim>, Taken extends ReadonlyArray<Dim>> = Taken extends readonly [
  infer T,
  ...infer Ts extends ReadonlyArray<Dim>,
]
  ? Given extends readonly [infer G, ...infer Gs extends ReadonlyArray<Dim>]
    ? DimFits<G, T> extends true
      ? ShapeFits<Gs, Ts>
      : false
    : false
  : Given extends readonly []
    ? true
    : Taken extends readonly []
      ? false
      : true

type FactFits<Given, Taken, Key extends string> = Taken extends { readonly [K in Key]: infer T }
  ? Given extends { readonly [K in Key]: T }
    ? true
    : false
  : true

/** What keeps a tensor given on an edge from being what a port takes, as far as literals tell; `never` when it fits. */
export type Mismatch<Given extends Tensor, Taken extends Tensor> =
  | (Given["dtype"] extends Taken["dtype"] ? never : "dtype")
  | (ShapeFits<Given["shape"], Taken["shape"]> extends true ? never : "shape")
  | (FactFits<Given, Taken, "space"> extends true ? never : "space")
  | (FactFits<Given, Taken, "fps"> extends true ? never : "frame rate")
  | (FactFits<Given, Taken, "range"> extends true ? never : "range")

/** `true` when a tensor given on an edge can be what a port takes, as far as literals tell. */
export type Fits<Given extends Tensor, Taken extends Tensor> = [Mismatch<Given, Taken>] extends [never]
  ? true
  : false
