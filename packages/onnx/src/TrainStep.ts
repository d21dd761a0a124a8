/**
 * One step of training as one graph: parameters, moments, averages, step and a batch go in; the same updated, the
 * loss and the gradient's norm come out.
 *
 * State is named `param/NAME`, `m/NAME`, `v/NAME`, `ema/NAME` and `step`; its next value has `next/` in front.
 * A parameter of Muon has no `v/NAME`. Batch inputs are named `batch/NAME`. See `Optimizer` and `Muon` for what the
 * moments hold.
 */
import * as GraphError from "./GraphError.ts"
import * as Gradient from "./Gradient.ts"
import { applyAll } from "./internal/apply.ts"
import * as Muon from "./Muon.ts"
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
  /** What updates it. Muon takes matrices only. @default "adamw" */
  readonly optimizer?: "adamw" | "muon"
}

export type Parameters = { readonly [name: string]: Parameter }

export type ParameterValues<P extends Parameters> = { readonly [K in keyof P]: Value<"f32"> }

/**
 * The same parameters, with Muon for those matrices whose names are `chosen`: by custom the ones between layers, not
 * embeddings nor the output.
 */
export const withMuon = <P extends Parameters>(
  parameters: P,
  chosen: (name: string) => boolean,
): { readonly [K in keyof P]: Parameter } =>
  Object.fromEntries(
    Object.entries(parameters).map(([name, parameter]) => [
      name,
      parameter.shape.length === 2 && chosen(name) ? { ...parameter, optimizer: "muon" } : parameter,
    ]),
  ) as { readonly [K in keyof P]: Parameter }

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
  /** For all parameters but those of Muon; its norm for clipping is that of all. */
  readonly optimizer: Optimizer.AdamW
  /** For parameters whose `optimizer` is "muon". @default Muon's defaults */
  readonly muon?: Muon.Muon
  /** The decay of the parameters' moving average. @default none is kept */
  readonly ema?: number
  /** The type the model's matrix products and convolutions are computed in; Muon's are float32. @default "f32" */
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
  /** Only of parameters of AdamW. */
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

const isMuon = ({ optimizer }: Parameter): boolean => optimizer === "muon"

/** The state of one parameter. */
interface OneState {
  readonly param: Value<"f32">
  readonly m: Value<"f32">
  readonly v: Value<"f32"> | undefined
  readonly ema: Value<"f32"> | undefined
}

const oneOf = ({ ema, m, param, v }: State, key: string): OneState => ({
  param: param[key]!,
  m: m[key]!,
  v: v[key],
  ema: ema[key],
})

/**
 * Which parameters are updated together. Gains and biases are most of a model's tensors and little of its numbers:
 * as one vector they take a dozen operators instead of a dozen each, with the same bits. Opening a graph costs the
 * runtime about as much as it has operators.
 */
const groupsOf = (parameters: Parameters): ReadonlyArray<ReadonlyArray<string>> => {
  const names = Object.keys(parameters)
  const isVector = (key: string) => parameters[key]!.shape.length === 1
  const vectors = [true, false].map((decays) =>
    names.filter((key) => isVector(key) && (parameters[key]!.decays ?? true) === decays),
  )
  const others = names.filter((key) => !isVector(key)).map((key) => [key])
  return [...others, ...vectors.filter((keys) => keys.length > 0)]
}

const parts = ["param", "m", "v", "ema"] as const

/** States of vectors one after another. */
const joinStates = (states: ReadonlyArray<OneState>): OneState =>
  Object.fromEntries(
    parts.map((part) => {
      const values = states.flatMap((state) => state[part] ?? [])
      return [part, values.length === 0 ? undefined : Ops.concat(values, 0)]
    }),
  ) as unknown as OneState

/** The inverse of {@link joinStates}. */
const splitState = (state: OneState, lengths: ReadonlyArray<number>): ReadonlyArray<OneState> => {
  const split = parts.map((part) => {
    const value = state[part]
    return value === undefined ? undefined : Ops.split(value, 0, lengths)
  })
  return lengths.map(
    (_, i) => Object.fromEntries(parts.map((part, p) => [part, split[p]?.[i]])) as unknown as OneState,
  )
}

/** Why these cannot be trained. */
const problemOf = (parameters: Parameters, muon: Muon.Muon | undefined): string | undefined => {
  const all = Object.entries(parameters)
  if (all.length === 0) return "has no parameters to train"
  const wrong = all.find(([, parameter]) => isMuon(parameter) && parameter.shape.length !== 2)
  if (wrong !== undefined)
    return `the parameter ${wrong[0]} is [${wrong[1].shape.join(",")}]: Muon takes matrices, leave it to AdamW`
  if (muon !== undefined && !all.some(([, parameter]) => isMuon(parameter)))
    return 'has options for Muon, but no parameter with optimizer: "muon"'
  return undefined
}

export const make = <const P extends Parameters, const B extends TensorGraph.Specs>(
  options: Options<P, B>,
): TrainStep<P, B> => {
  const { batch, ema, lossScale = 1, muon = {}, name, optimizer, parameters, precision = "f32" } = options
  const names = Object.keys(parameters)
  const problem = problemOf(parameters, options.muon)
  if (problem !== undefined) throw new GraphError.GraphInvalid({ graph: name, problem })

  const inputState = (): State => {
    const of = (prefix: string, keys: ReadonlyArray<string>) =>
      named(keys, (key) => TensorGraph.input(`${prefix}/${key}`, "f32", parameters[key]!.shape))
    const each = (prefix: string) => of(prefix, names)
    return {
      param: each("param"),
      m: each("m"),
      v: of(
        "v",
        names.filter((key) => !isMuon(parameters[key]!)),
      ),
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
    const muonNumbers = Muon.scalars(state.step, {
      schedule: optimizer.schedule,
      weightDecay: optimizer.weightDecay ?? Optimizer.defaultWeightDecay,
      ...muon,
    })
    const weight = ema === undefined ? undefined : Optimizer.averageWeight(state.step, ema)
    /** The next moments and average of one parameter, or of several as one vector. */
    const updateOf = (key: string, of: OneState, gradient: Value<"f32">): OneState => {
      const clipped = factor === undefined ? gradient : Ops.mul(gradient, factor)
      const decays = parameters[key]!.decays ?? true
      const { m, param: parameter, v } = of
      const moments: Muon.Momentum & Partial<Optimizer.Moments> =
        v === undefined
          ? Muon.update({ parameter, m }, clipped, muonNumbers, { ...muon, decays })
          : Optimizer.update({ parameter, m, v }, clipped, numbers, { ...optimizer, decays })
      return {
        param: moments.parameter,
        m: moments.m,
        v: moments.v,
        ema:
          of.ema === undefined || weight === undefined
            ? undefined
            : Optimizer.movingAverage(of.ema, moments.parameter, weight),
      }
    }
    const updates: Record<string, OneState> = {}
    for (const keys of groupsOf(parameters)) {
      const first = keys[0]!
      const states = keys.map((key) => oneOf(state, key))
      if (keys.length === 1) {
        updates[first] = updateOf(first, states[0]!, gradients[first]!)
        continue
      }
      const together = keys.map((key) => gradients[key]!)
      const lengths = keys.map((key) => parameters[key]!.shape[0]!)
      const apart = splitState(updateOf(first, joinStates(states), Ops.concat(together, 0)), lengths)
      keys.forEach((key, i) => (updates[key] = apart[i]!))
    }
    const after: State = {
      param: named(names, (key) => updates[key]!.param),
      m: named(names, (key) => updates[key]!.m),
      v: named(Object.keys(state.v), (key) => updates[key]!.v!),
      ema: named(Object.keys(state.ema), (key) => updates[key]!.ema!),
      step: Ops.add(state.step, 1),
    }
    return { after, norm, rate: numbers.rate }
  }

  /** Loss and gradients, both in the precision asked for: a pass over what is between parameters and gradients. */
  const differentiated = (param: Tensors, inputs: TensorGraph.Values) => {
    const { loss, metrics } = lossOf(param, inputs)
    const lowered = Precision.lower(
      TensorGraph.close(
        `${name}/gradient`,
        { ...prefixed("param", param), ...prefixed("batch", inputs) },
        { loss, ...prefixed("metric", metrics), ...prefixed("grad", gradientsOf(loss, param)) },
      ),
      precision,
    ).outputs as Tensors
    const back = (prefix: string, keys: ReadonlyArray<string>) =>
      named(keys, (key) => lowered[`${prefix}/${key}`]!)
    return {
      loss: lowered["loss"]!,
      metrics: back("metric", Object.keys(metrics)),
      gradients: back("grad", names),
    }
  }

  const single = (): TensorGraph.TensorGraph => {
    const [state, inputs] = [inputState(), inputBatch()]
    const { gradients, loss, metrics } = differentiated(state.param, inputs)
    const { after, norm, rate } = updated(state, gradients)
    return TensorGraph.close(
      `${name}/step`,
      { ...flat(state), ...prefixed("batch", inputs) },
      { ...next(after), loss, norm, finite: Optimizer.allFinite([loss, norm]), rate, ...metrics },
    )
  }

  const accumulate = (): TensorGraph.TensorGraph => {
    const { param } = inputState()
    const inputs = inputBatch()
    const sums = named(names, (key) => TensorGraph.input(`grad/${key}`, "f32", parameters[key]!.shape))
    const { gradients, loss, metrics } = differentiated(param, inputs)
    return TensorGraph.close(
      `${name}/accumulate`,
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
    return TensorGraph.close(
      `${name}/apply`,
      { ...flat(state), ...prefixed("grad", sums), count },
      { ...next(after), norm, finite: Optimizer.allFinite([norm]), rate },
    )
  }

  const evaluate = (): TensorGraph.TensorGraph => {
    const { param } = inputState()
    const inputs = inputBatch()
    const { loss, metrics } = lossOf(param, inputs)
    return Precision.lower(
      TensorGraph.close(
        `${name}/evaluate`,
        { ...prefixed("param", param), ...prefixed("batch", inputs) },
        { loss, ...metrics },
      ),
      precision,
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
