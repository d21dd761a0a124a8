/**
 * The layers of video models, composed of `Ops`: normalisation, convolution, resampling, rotary positions,
 * attention, timestep embeddings. Where a hand-written gradient saves passes over memory, it has one; tests
 * compare all of them with finite differences.
 */
import type { Float } from "./DType.ts"
import { apply, axesOrAll, reject, withVjp } from "./internal/apply.ts"
import * as Ops from "./Ops.ts"
import * as Shape from "./Shape.ts"
import * as Tensor from "./Tensor.ts"
import type { Value } from "./Value.ts"

/** Softmax along an axis, the last one by default. */
export const softmax = <D extends Float>(x: Value<D>, axis = -1): Value<D> => apply("Softmax", [x], { axis })

const constantF32 = <D extends Float>(like: Value<D>, shape: ReadonlyArray<number>, values: Float32Array) =>
  Ops.cast(Ops.constant(Tensor.make("f32", shape, values)), like.dtype)

export interface LayerNorm<D extends Float> {
  /** How many of the last axes are normalised together. @default 1 */
  readonly axes?: number
  /** @default 1e-6 */
  readonly epsilon?: number
  /** `[..]` of the normalised axes. @default all ones */
  readonly scale?: Value<D>
  /** `[..]` of the normalised axes. @default none */
  readonly bias?: Value<D>
}

/** (x - mean) / sqrt(variance + epsilon) * scale + bias (Ba et al. 2016). */
export const layerNorm = <D extends Float>(x: Value<D>, options: LayerNorm<NoInfer<D>> = {}): Value<D> => {
  const { axes = 1, bias, epsilon = 1e-6, scale } = options
  const normalized = x.shape.slice(x.shape.length - axes)
  if (!Shape.isStatic(normalized))
    return reject("LayerNormalization", [x], "the normalised axes have to be known")
  const ones =
    x.dtype === "f64"
      ? Ops.constant(Tensor.make("f64", normalized, new Float64Array(Shape.size(normalized)).fill(1)))
      : constantF32(x, normalized, new Float32Array(Shape.size(normalized)).fill(1))
  return Ops.cast(
    apply("LayerNormalization", bias === undefined ? [x, scale ?? ones] : [x, scale ?? ones, bias], {
      axis: -axes,
      epsilon: { float: epsilon },
    }),
    x.dtype,
  )
}

export interface RmsNorm<D extends Float> {
  /** @default the last */
  readonly axes?: ReadonlyArray<number>
  /** @default 1e-6 */
  readonly epsilon?: number
  /** Broadcasts to x. @default none */
  readonly scale?: Value<D>
}

/**
 * xhat = x r, r = 1 / sqrt(mean(x^2) + epsilon), times scale (Zhang and Sennrich 2019). With g the gradient by
 * xhat: dx = r (g - xhat mean(g xhat)).
 */
export const rmsNorm = <D extends Float>(x: Value<D>, options: RmsNorm<NoInfer<D>> = {}): Value<D> => {
  const { epsilon = 1e-6, scale } = options
  const axes = axesOrAll("RmsNorm", x, options.axes ?? [-1])
  const r = Ops.rsqrt<Float>(
    Ops.add<Float>(Ops.reduceMean<Float>(Ops.square<Float>(x), { axes, keep: true }), epsilon),
  )
  const product = Ops.mul<Float>(x, r) as Value<D>
  const xhat = withVjp(product, [x], (g) => {
    const along = Ops.reduceMean<Float>(Ops.mul<Float>(g, product), { axes, keep: true })
    return [Ops.mul<Float>(r, Ops.sub<Float>(g, Ops.mul<Float>(product, along)))]
  })
  return scale === undefined ? xhat : (Ops.mul<Float>(xhat, scale) as Value<D>)
}

export interface GroupNorm<D extends Float> {
  /** Divides the channels. */
  readonly groups: number
  /** @default 1e-5 */
  readonly epsilon?: number
  /** `[C]` @default none */
  readonly scale?: Value<D>
  /** `[C]` @default none */
  readonly bias?: Value<D>
}

/**
 * (x - mean) / sqrt(variance + epsilon) * scale + bias, mean and variance over each group of channels and all of
 * space (Wu and He 2018): x `[N, C, ..]`.
 */
export const groupNorm = <D extends Float>(x: Value<D>, options: GroupNorm<NoInfer<D>>): Value<D> => {
  const { bias, epsilon = 1e-5, groups, scale } = options
  const [batch, channels, space] = batchAndChannels("GroupNorm", x)
  if (channels % groups !== 0)
    return reject("GroupNorm", [x], `${channels} channels do not divide into ${groups} groups`)
  const apart = Ops.reshape(x, [batch, groups, (channels / groups) * Shape.size(space)])
  const centred = Ops.sub<Float>(apart, Ops.reduceMean<Float>(apart, { axes: [2], keep: true }))
  const normalized = Ops.reshape(rmsNorm<Float>(centred, { epsilon }), [batch, channels, ...space])
  const each = (values: Value<D>) => Ops.reshape<Float>(values, [channels, ...space.map(() => 1)])
  const scaled = scale === undefined ? normalized : Ops.mul<Float>(normalized, each(scale))
  return (bias === undefined ? scaled : Ops.add<Float>(scaled, each(bias))) as Value<D>
}

/** x / max(|x|, epsilon) along axes, as PyTorch's `F.normalize`: the norm of the Wan VAE before its gain. */
export const l2Norm = <D extends Float>(
  x: Value<D>,
  options: { readonly axes?: ReadonlyArray<number>; readonly epsilon?: number } = {},
): Value<D> => {
  const axes = axesOrAll("L2Norm", x, options.axes ?? [-1])
  const norm = Ops.sqrt<Float>(Ops.reduceSumSquare<Float>(x, { axes, keep: true }))
  return Ops.div<Float>(x, Ops.max<Float>(norm, options.epsilon ?? 1e-12)) as Value<D>
}

/** Zeros before and after along each spatial axis: one number for all, or a pair for each. */
export type Padding = number | ReadonlyArray<readonly [before: number, after: number]>

export interface Conv<D extends Float> {
  readonly bias?: Value<D>
  /** One number for all spatial axes, or one each. @default 1 */
  readonly stride?: number | ReadonlyArray<number>
  /** @default 0 */
  readonly padding?: Padding
  /** @default 1 */
  readonly groups?: number
}

/**
 * Convolution over any number of spatial axes: x `[N, C, ..]`, weight `[M, C/groups, ..]` to `[N, M, ..]`.
 * Causal in time is a padding of `[k - 1, 0]` on that axis.
 */
export const conv = <D extends Float>(
  x: Value<D>,
  weight: Value<NoInfer<D>>,
  options: Conv<NoInfer<D>> = {},
): Value<D> => {
  const kernel = weight.shape.slice(2)
  if (!Shape.isStatic(kernel)) return reject("Conv", [x, weight], "the kernel has to be known")
  const { bias, groups = 1, padding = 0, stride = 1 } = options
  const pairs = kernel.map((_, i) =>
    typeof padding === "number" ? ([padding, padding] as const) : padding[i]!,
  )
  const strides = kernel.map((_, i) => (typeof stride === "number" ? stride : stride[i]!))
  return apply("Conv", bias === undefined ? [x, weight] : [x, weight, bias], {
    kernel_shape: kernel,
    strides,
    pads: [...pairs.map(([before]) => before), ...pairs.map(([, after]) => after)],
    group: groups,
  })
}

/** x `[N, C, H, W]`, weight `[M, C/groups, kH, kW]`. */
export const conv2d = conv

/** x `[N, C, T, H, W]`, weight `[M, C/groups, kT, kH, kW]`. */
export const conv3d = conv

const batchAndChannels = (op: string, x: Value): readonly [number, number, ReadonlyArray<number>] => {
  const [batch, channels, ...space] = x.shape
  if (typeof channels !== "number" || !Shape.isStatic(space) || batch === undefined)
    return reject(op, [x], "takes [N, C, ..] of known sizes but for N")
  return [typeof batch === "number" ? batch : -1, channels, space]
}

const along = (
  op: string,
  x: Value,
  factors: number | ReadonlyArray<number>,
  rank: number,
): ReadonlyArray<number> => {
  const all = typeof factors === "number" ? Array.from({ length: rank }, () => factors) : factors
  return all.length === rank ? all : reject(op, [x], `${all.length} factors for ${rank} spatial axes`)
}

/** Repeats every element along spatial axes: `[N, C, H, W]` to `[N, C, 2H, 2W]` for factors of 2. */
export const upsampleNearest = <D extends Float>(
  x: Value<D>,
  factors: number | ReadonlyArray<number>,
): Value<D> => {
  const [batch, channels, space] = batchAndChannels("UpsampleNearest", x)
  const by = along("UpsampleNearest", x, factors, space.length)
  const apart = Ops.reshape(x, [batch, channels, ...space.flatMap((dim) => [dim, 1])])
  const repeated = Ops.expand(apart, [1, 1, ...space.flatMap((_, i) => [1, by[i]!])])
  return Ops.reshape(repeated, [batch, channels, ...space.map((dim, i) => dim * by[i]!)])
}

/** The mean of blocks that do not overlap: `[N, C, H, W]` to `[N, C, H/2, W/2]` for factors of 2. */
export const averagePool = <D extends Float>(
  x: Value<D>,
  factors: number | ReadonlyArray<number>,
): Value<D> => {
  const [batch, channels, space] = batchAndChannels("AveragePool", x)
  const by = divisible("AveragePool", x, factors, space)
  const apart = Ops.reshape(x, [batch, channels, ...space.flatMap((dim, i) => [dim / by[i]!, by[i]!])])
  return Ops.reduceMean<Float>(apart, { axes: space.map((_, i) => 3 + 2 * i) }) as Value<D>
}

export interface Pool {
  readonly kernel: ReadonlyArray<number>
  readonly stride: ReadonlyArray<number>
  readonly padding: ReadonlyArray<readonly [before: number, after: number]>
}

/**
 * The largest or the mean of windows that may overlap; padding has no part in either. For imported models: it has
 * no gradient.
 */
export const pool = <D extends Float>(
  of: "max" | "mean",
  x: Value<D>,
  { kernel, padding, stride }: Pool,
): Value<D> =>
  apply(of === "max" ? "MaxPool" : "AveragePool", [x], {
    kernel_shape: kernel,
    strides: stride,
    pads: [...padding.map(([before]) => before), ...padding.map(([, after]) => after)],
  })

const divisible = (
  op: string,
  x: Value,
  factors: number | ReadonlyArray<number>,
  space: ReadonlyArray<number>,
) => {
  const by = along(op, x, factors, space.length)
  const odd = space.findIndex((dim, i) => dim % by[i]! !== 0)
  if (odd >= 0) reject(op, [x], `axis ${odd + 2} does not divide by ${by[odd]}`)
  return by
}

/**
 * Blocks become channels: `[N, C, H, W]` to `[N, C r s, H/r, W/s]`, channels in the order (C, r, s): PyTorch's
 * `pixel_unshuffle`, for any number of spatial axes.
 */
export const spaceToDepth = <D extends Float>(
  x: Value<D>,
  factors: number | ReadonlyArray<number>,
): Value<D> => {
  const [batch, channels, space] = batchAndChannels("SpaceToDepth", x)
  const by = divisible("SpaceToDepth", x, factors, space)
  const apart = Ops.reshape(x, [batch, channels, ...space.flatMap((dim, i) => [dim / by[i]!, by[i]!])])
  const outer = space.map((_, i) => 2 + 2 * i)
  const inner = space.map((_, i) => 3 + 2 * i)
  return Ops.reshape(Ops.transpose(apart, [0, 1, ...inner, ...outer]), [
    batch,
    channels * Shape.size(by),
    ...space.map((dim, i) => dim / by[i]!),
  ])
}

/** Channels become blocks, the inverse of {@link spaceToDepth}: PyTorch's `pixel_shuffle`. */
export const depthToSpace = <D extends Float>(
  x: Value<D>,
  factors: number | ReadonlyArray<number>,
): Value<D> => {
  const [batch, channels, space] = batchAndChannels("DepthToSpace", x)
  const by = along("DepthToSpace", x, factors, space.length)
  const depth = channels / Shape.size(by)
  if (!Number.isInteger(depth))
    return reject("DepthToSpace", [x], `${channels} channels do not divide by ${Shape.size(by)}`)
  const apart = Ops.reshape(x, [batch, depth, ...by, ...space])
  const order = [0, 1, ...space.flatMap((_, i) => [2 + space.length + i, 2 + i])]
  return Ops.reshape(Ops.transpose(apart, order), [batch, depth, ...space.map((dim, i) => dim * by[i]!)])
}

/**
 * Rotary positions (Su et al. 2021): each pair (u, v) of the last axis turns by its angle. `interleaved` pairs
 * are neighbours (2i, 2i + 1), as in Wan; otherwise i and i + D/2. cos and sin broadcast to `[.., D/2]`, so x may
 * be `[B, H, S, D]` with tables `[S, D/2]`, or `[B, S, H, D]` with tables `[S, 1, D/2]`. The gradient is the same
 * rotation backwards; the tables are constants and have none.
 */
export const rope = <D extends Float>(
  x: Value<D>,
  cos: Value<NoInfer<D>>,
  sin: Value<NoInfer<D>>,
  { interleaved = true }: { readonly interleaved?: boolean } = {},
): Value<D> =>
  withVjp(rotate(x, cos, sin, interleaved), [x], (g) => [
    rotate(g, cos, Ops.neg<Float>(sin) as Value<D>, interleaved),
  ])

const rotate = <D extends Float>(
  x: Value<D>,
  cos: Value<D>,
  sin: Value<D>,
  interleaved: boolean,
): Value<D> => {
  const width = x.shape.at(-1)
  if (typeof width !== "number" || width % 2 !== 0)
    return reject("Rope", [x, cos, sin], `the last axis is ${width}, which has no pairs`)
  const half = width / 2
  if (cos.shape.at(-1) !== half || !Shape.equal(cos.shape, sin.shape))
    return reject("Rope", [x, cos, sin], `the tables' last axis has to be ${half}`)
  const turn = (u: Value<Float>, v: Value<Float>, cos: Value<Float>, sin: Value<Float>) =>
    [Ops.sub(Ops.mul(u, cos), Ops.mul(v, sin)), Ops.add(Ops.mul(u, sin), Ops.mul(v, cos))] as const
  if (!interleaved) {
    const [u, v] = Ops.chunk<Float>(x, -1, 2)
    return Ops.concat<Float>(turn(u!, v!, cos, sin), -1) as Value<D>
  }
  // [.., D] -> [.., D/2, 2]; one axis at the back, so the tables get one too.
  const rank = x.shape.length
  const pairs = splitLast(x, half)
  const [u, v] = Ops.chunk<Float>(pairs, rank, 2)
  const wide = (table: Value<Float>) => Ops.unsqueeze(table, [table.shape.length])
  const turned = Ops.concat<Float>(turn(u!, v!, wide(cos), wide(sin)), rank)
  return mergeLast(turned) as Value<D>
}

const keepOrInfer = (shape: Shape.Shape): ReadonlyArray<number> =>
  shape.map((dim) => (typeof dim === "string" ? 0 : dim))

const splitLast = <D extends Float>(x: Value<D>, pairs: number): Value<D> =>
  Ops.reshape(x, [...keepOrInfer(x.shape.slice(0, -1)), pairs, 2])

const mergeLast = (x: Value<Float>): Value<Float> =>
  Ops.reshape(x, [...keepOrInfer(x.shape.slice(0, -2)), Number(x.shape.at(-2)) * 2])

export interface RopeTables {
  /** The number of positions along each axis: `[T, H, W]`. */
  readonly grid: ReadonlyArray<number>
  /** How many of the head's dimensions turn with each axis, even numbers: `[44, 42, 42]`. */
  readonly dims: ReadonlyArray<number>
  /** @default 10000 */
  readonly theta?: number
}

/**
 * cos and sin `[S, D/2]` of angles `position * theta^(-2k/d)`, axis after axis, for every point of a grid in
 * row-major order. Frequencies are doubles, as in Wan2.1.
 */
export const ropeTables = ({
  dims,
  grid,
  theta = 10000,
}: RopeTables): { readonly cos: Tensor.Tensor<"f32">; readonly sin: Tensor.Tensor<"f32"> } => {
  const half = Shape.size([dims.reduce((a, b) => a + b, 0)]) / 2
  const positions = Shape.size(grid)
  const strides = Shape.strides(grid)
  const [cos, sin] = [new Float32Array(positions * half), new Float32Array(positions * half)]
  for (let s = 0; s < positions; s++) {
    let column = 0
    grid.forEach((size, axis) => {
      const position = Math.floor(s / strides[axis]!) % size
      for (let k = 0; k < dims[axis]! / 2; k++, column++) {
        const angle = position * theta ** ((-2 * k) / dims[axis]!)
        cos[s * half + column] = Math.cos(angle)
        sin[s * half + column] = Math.sin(angle)
      }
    })
  }
  const shape = [positions, half]
  return { cos: Tensor.make("f32", shape, cos), sin: Tensor.make("f32", shape, sin) }
}

export interface Attention<D extends Float> {
  /** Added to the scores; broadcasts to `[B, H, S, L]`. Large and negative where there is nothing to see. */
  readonly mask?: Value<D>
  /** @default 1 / sqrt(D) */
  readonly scale?: number
}

/** softmax(q k^T scale + mask) v (Vaswani et al. 2017): q `[B, H, S, D]`, k and v `[B, H, L, D]`. */
export const attention = <D extends Float>(
  q: Value<D>,
  k: Value<NoInfer<D>>,
  v: Value<NoInfer<D>>,
  options: Attention<NoInfer<D>> = {},
): Value<D> => {
  const scale = options.scale ?? 1 / Math.sqrt(Number(q.shape.at(-1)))
  const scores: Value<Float> = Ops.matmul<Float>(q, k, { transposeB: true, scale })
  const masked = options.mask === undefined ? scores : Ops.add<Float>(scores, options.mask)
  return Ops.matmul<Float>(softmax(masked), v) as Value<D>
}

/** `[B, S, H D]` to `[B, H, S, D]`. */
export const splitHeads = <D extends Float>(x: Value<D>, heads: number): Value<D> => {
  const [batch, sequence, width] = x.shape
  if (typeof width !== "number" || width % heads !== 0)
    return reject("SplitHeads", [x], `${width} does not divide into ${heads} heads`)
  const apart = Ops.reshape(x, [...keepOrInfer([batch!, sequence!]), heads, width / heads])
  return Ops.transpose(apart, [0, 2, 1, 3])
}

/** `[B, H, S, D]` to `[B, S, H D]`. */
export const mergeHeads = <D extends Float>(x: Value<D>): Value<D> => {
  const [batch, heads, sequence, width] = x.shape
  const together = Ops.transpose(x, [0, 2, 1, 3])
  return Ops.reshape(together, [...keepOrInfer([batch!, sequence!]), Number(heads) * Number(width)])
}

export interface TimestepEmbedding {
  /** The highest period. @default 10000 */
  readonly maxPeriod?: number
  /** Whether cosines come before sines, as in Wan. @default true */
  readonly cosFirst?: boolean
  /** Subtracted from D/2 in the exponent (`downscale_freq_shift` of diffusers). @default 0 */
  readonly shift?: number
}

/** Sinusoids of timesteps `[B]`: `[B, D]` of cos and sin of `t * maxPeriod^(-k / (D/2 - shift))` (Ho et al. 2020). */
export const timestepEmbedding = <D extends Float>(
  t: Value<D>,
  width: number,
  { cosFirst = true, maxPeriod = 10000, shift = 0 }: TimestepEmbedding = {},
): Value<D> => {
  const half = width / 2
  if (!Number.isInteger(half)) return reject("TimestepEmbedding", [t], `${width} is odd`)
  const frequencies = Float32Array.from({ length: half }, (_, k) => maxPeriod ** (-k / (half - shift)))
  const angles: Value<Float> = Ops.mul<Float>(
    Ops.unsqueeze(t, [1]),
    constantF32<Float>(t, [1, half], frequencies),
  )
  const [cos, sin] = [Ops.cos(angles), Ops.sin(angles)]
  return Ops.concat(cosFirst ? [cos, sin] : [sin, cos], 1) as Value<D>
}
