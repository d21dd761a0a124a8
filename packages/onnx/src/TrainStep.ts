/**
 * One step of training as one graph: parameters, moments, averages, step and a batch go in; the same updated, the
 * loss and the gradient's norm come out.
 *
 * State is named `param/NAME`, `m/NAME`, `v/NAME`, `ema/NAME` and `step`; its next value has `next/` in front.
 * Batch inputs are named `batch/NAME`. See `Optimizer` for what the moments hold.
 */
import * as GraphError from "./GraphError.ts"
import * as Gradient from "./Gradient.ts"
import { applyAll } from "./internal/apply.ts"
import * as Ops from "./Ops.ts"
import * as Optimizer from "./Optimizer.ts"
import * as Precision from "./Precision.ts"
import * as TensorGraph from "./TensorGraph.ts"
import type { Value } from "./Value.ts"

/** A trainable tensor, kept in float32. */
export interface Parameter {
  readonly shape: ReadonlyArray<number>
  /** Whether weight decay applies: by custom not to biases, gains and embeddings. @default true */
  readonly decays?: boolean
}

export type Parameters = { readonly [name: string]: Parameter }

export type ParameterValues<P extends Parameters> = { readonly [K in keyof P]: Value<"f32"> }

export interface Loss {
  /** A scalar. */
  readonly loss: Value<"f32">
  /** More scalars to report: `{ mse, kl }`. */
  readonly metrics?: { readonly [name: string]: Value<"f32"> }
}

export interface Options<P extends Parameters, B extends TensorGraph.Specs> {
  readonly name: string
  readonly parameters: P
  readonly batch: B
  readonly loss: (parameters: ParameterValues<P>, batch: TensorGraph.ValuesOf<B>) => Loss
  readonly optimizer: Optimizer.AdamW
  /** The decay of the parameters' moving average. @default none is kept */
  readonly ema?: number
  /** The type matrix products and convolutions are computed in. @default "f32" */
  readonly precision?: Precision.Precision
  /** The loss is multiplied by it before differentiation and the gradient divided: for f16. @default 1 */
  readonly lossScale?: number
}

/** The graphs of a training step. */
export interface TrainStep<
  P extends Parameters = Parameters,
  B extends TensorGraph.Specs = TensorGraph.Specs,
> {
  readonly name: string
  readonly parameters: P
  readonly batch: B
  /** The names of the state, in order: every one is an input and, with `next/` in front, an output. */
  readonly state: ReadonlyArray<string>
  readonly hasAverage: boolean
  /** Names of the scalars that come out beside the state: `loss`, `norm`, `finite`, `rate` and the metrics. */
  readonly reports: ReadonlyArray<string>
  /** One step on one batch. */
  readonly single: TensorGraph.TensorGraph
  /** `count` steps on `count` batches stacked along a new first axis, in one run; reports are `[count]`. */
  readonly scan: (count: number) => TensorGraph.TensorGraph
  /** Adds the gradient of one batch to `grad/NAME`: for batches larger than memory. */
  readonly accumulate: TensorGraph.TensorGraph
  /** One step on the mean of `count` (f32 scalar) accumulated gradients. */
  readonly apply: TensorGraph.TensorGraph
  /** Parameters and batch to loss and metrics: for validation. */
  readonly evaluate: TensorGraph.TensorGraph
}

/** Scalars that every step reports. */
const reserved = new Set(["loss", "norm", "finite", "rate"])

const prefixed = <A>(prefix: string, record: { readonly [name: string]: A }) =>
  Object.fromEntries(Object.entries(record).map(([name, value]) => [`${prefix}/${name}`, value]))

const named = <A>(names: ReadonlyArray<string>, of: (name: string) => A): Record<string, A> =>
  Object.fromEntries(names.map((name) => [name, of(name)]))

type Tensors = Readonly<Record<string, Value<"f32">>>

interface State {
  readonly param: Tensors
  readonly m: Tensors
  readonly v: Tensors
  readonly ema: Tensors
  readonly step: Value<"i64">
}

const flat = ({ ema, m, param, step, v }: State): Record<string, Value> => ({
  ...prefixed("param", param),
  ...prefixed("m", m),
  ...prefixed("v", v),
  ...prefixed("ema", ema),
  step,
})

const next = (state: State) =>
  Object.fromEntries(Object.entries(flat(state)).map(([name, value]) => [`next/${name}`, value]))

export const make = <const P extends Parameters, const B extends TensorGraph.Specs>(
  options: Options<P, B>,
): TrainStep<P, B> => {
  const { batch, ema, lossScale = 1, name, optimizer, parameters, precision = "f32" } = options
  const names = Object.keys(parameters)
  if (names.length === 0)
    throw new GraphError.GraphInvalid({ graph: name, problem: "has no parameters to train" })

  const inputState = (): State => {
    const each = (prefix: string) =>
      named(names, (key) => TensorGraph.input(`${prefix}/${key}`, "f32", parameters[key]!.shape))
    return {
      param: each("param"),
      m: each("m"),
      v: each("v"),
      ema: ema === undefined ? {} : each("ema"),
      step: TensorGraph.input("step", "i64", []),
    }
  }
  const inputBatch = () =>
    Object.fromEntries(
      Object.entries(batch).map(([key, { dtype, shape }]) => [
        key,
        TensorGraph.input(`batch/${key}`, dtype, shape),
      ]),
    )

  const lossOf = (param: Tensors, inputs: TensorGraph.Values): Required<Loss> => {
    const { loss, metrics = {} } = options.loss(
      param as ParameterValues<P>,
      inputs as TensorGraph.ValuesOf<B>,
    )
    if (loss.shape.length !== 0)
      throw new GraphError.GraphInvalid({
        graph: name,
        problem: `the loss is [${loss.shape.join(",")}], not a scalar`,
      })
    const taken = Object.keys(metrics).find((key) => reserved.has(key) || key.startsWith("next/"))
    if (taken !== undefined)
      throw new GraphError.GraphInvalid({ graph: name, problem: `a metric cannot be called ${taken}` })
    return { loss, metrics }
  }

  const gradientsOf = (loss: Value<"f32">, param: Tensors): Tensors => {
    const scaled = lossScale === 1 ? loss : Ops.mul(loss, lossScale)
    const found = Gradient.gradients(
      scaled,
      names.map((key) => param[key]!),
    )
    return named(names, (key) => {
      const gradient = found[names.indexOf(key)]!
      return lossScale === 1 ? gradient : Ops.mul(gradient, 1 / lossScale)
    })
  }

  const updated = (state: State, gradients: Tensors) => {
    const { clip } = optimizer
    const norm = Optimizer.globalNorm(names.map((key) => gradients[key]!))
    const factor = clip === undefined ? undefined : Optimizer.clipFactor(norm, clip)
    const numbers = Optimizer.scalars(state.step, optimizer)
    const moments = named(names, (key) => {
      const gradient = gradients[key]!
      return Optimizer.update(
        { parameter: state.param[key]!, m: state.m[key]!, v: state.v[key]! },
        factor === undefined ? gradient : Ops.mul(gradient, factor),
        numbers,
        { ...optimizer, decays: parameters[key]!.decays ?? true },
      )
    })
    const weight = ema === undefined ? undefined : Optimizer.averageWeight(state.step, ema)
    const after: State = {
      param: named(names, (key) => moments[key]!.parameter),
      m: named(names, (key) => moments[key]!.m),
      v: named(names, (key) => moments[key]!.v),
      ema:
        weight === undefined
          ? {}
          : named(names, (key) => Optimizer.movingAverage(state.ema[key]!, moments[key]!.parameter, weight)),
      step: Ops.add(state.step, 1),
    }
    return { after, norm, rate: numbers.rate }
  }

  const finished = (suffix: string, inputs: TensorGraph.Values, outputs: TensorGraph.Values) =>
    Precision.lower(TensorGraph.close(`${name}/${suffix}`, inputs, outputs), precision)

  const single = (): TensorGraph.TensorGraph => {
    const [state, inputs] = [inputState(), inputBatch()]
    const { loss, metrics } = lossOf(state.param, inputs)
    const { after, norm, rate } = updated(state, gradientsOf(loss, state.param))
    return finished(
      "step",
      { ...flat(state), ...prefixed("batch", inputs) },
      { ...next(after), loss, norm, finite: Optimizer.allFinite([loss, norm]), rate, ...metrics },
    )
  }

  const accumulate = (): TensorGraph.TensorGraph => {
    const { param } = inputState()
    const inputs = inputBatch()
    const sums = named(names, (key) => TensorGraph.input(`grad/${key}`, "f32", parameters[key]!.shape))
    const { loss, metrics } = lossOf(param, inputs)
    const gradients = gradientsOf(loss, param)
    return finished(
      "accumulate",
      { ...prefixed("param", param), ...prefixed("grad", sums), ...prefixed("batch", inputs) },
      {
        ...prefixed(
          "next/grad",
          named(names, (key) => Ops.add(sums[key]!, gradients[key]!)),
        ),
        loss,
        ...metrics,
      },
    )
  }

  const apply = (): TensorGraph.TensorGraph => {
    const state = inputState()
    const sums = named(names, (key) => TensorGraph.input(`grad/${key}`, "f32", parameters[key]!.shape))
    const count = TensorGraph.input("count", "f32", [])
    const mean = Ops.reciprocal(count)
    const { after, norm, rate } = updated(
      state,
      named(names, (key) => Ops.mul(sums[key]!, mean)),
    )
    return finished(
      "apply",
      { ...flat(state), ...prefixed("grad", sums), count },
      { ...next(after), norm, finite: Optimizer.allFinite([norm]), rate },
    )
  }

  const evaluate = (): TensorGraph.TensorGraph => {
    const { param } = inputState()
    const inputs = inputBatch()
    const { loss, metrics } = lossOf(param, inputs)
    return finished(
      "evaluate",
      { ...prefixed("param", param), ...prefixed("batch", inputs) },
      { loss, ...metrics },
    )
  }

  const one = single()
  const state = Object.keys(flat(inputState()))
  const reports = Object.keys(one.outputs).filter((key) => !key.startsWith("next/"))
  return {
    name,
    parameters,
    batch,
    state,
    hasAverage: ema !== undefined,
    reports,
    single: one,
    scan: (count) => scanOf(one, state, reports, count),
    // Built when they are asked for: each differentiates the whole model.
    get accumulate() {
      return accumulate()
    },
    get apply() {
      return apply()
    },
    get evaluate() {
      return evaluate()
    },
  }
}

/** `count` steps as one `Scan`, whose body is the single step. */
const scanOf = (
  one: TensorGraph.TensorGraph,
  state: ReadonlyArray<string>,
  reports: ReadonlyArray<string>,
  count: number,
): TensorGraph.TensorGraph => {
  const batches = Object.keys(one.inputs).filter((key) => key.startsWith("batch/"))
  const inputs = Object.fromEntries(
    [...state, ...batches].map((key) => {
      const { dtype, shape } = one.inputs[key]!
      return [key, TensorGraph.input(key, dtype, key.startsWith("batch/") ? [count, ...shape] : shape)]
    }),
  )
  const keys = [...state.map((key) => `next/${key}`), ...reports]
  const outputs = applyAll("Scan", Object.values(inputs), {
    num_scan_inputs: batches.length,
    body: {
      graph: {
        inputs: [...state, ...batches].map((key) => one.inputs[key]!),
        outputs: keys.map((key) => one.outputs[key]!),
      },
    },
  })
  return TensorGraph.close(
    `${one.name}/scan${count}`,
    inputs,
    Object.fromEntries(keys.map((key, i) => [key, outputs[i]!])),
  )
}
