/**
 * A training run: a thread that holds the state (parameters, moments, averages, step) between steps, so that only
 * batches go in and a few numbers come out.
 *
 * Interrupting a step stops waiting for it; the thread finishes it, and the state is the one after it. Whoever
 * needs to know asks for `step`. The state can be read at any time and put back, on another machine too, and
 * training goes on with the same losses to the last bit (on the same provider, threads and versions).
 */
import * as Effect from "effect/Effect"
import * as Schema from "effect/Schema"
import type * as Scope from "effect/Scope"

import type { Host } from "./internal/host.ts"
import * as Onnx from "./Onnx.ts"
import * as Session from "./Session.ts"
import {
  FeedInvalid,
  type ModelInvalid,
  type ProviderMissing,
  type RunFailed,
  type ThreadLost,
} from "./SessionError.ts"
import * as Shape from "./Shape.ts"
import * as Tensor from "./Tensor.ts"
import type * as TensorGraph from "./TensorGraph.ts"
import type * as TrainStep from "./TrainStep.ts"

/** A step came out infinite or not a number. The state is the one before the run it was in. */
export class NotFinite extends Schema.TaggedError<NotFinite>()("NotFinite", {
  model: Schema.String,
  /** The first bad step, counted from the beginning of training. */
  step: Schema.Int,
  loss: Schema.String,
  norm: Schema.String,
}) {
  override get message() {
    return `step ${this.step} of ${this.model} has loss ${this.loss} and gradient norm ${this.norm}; the state before it is kept: lower the learning rate, clip, or look at the batch`
  }
}

/**
 * Other shapes of batches, by name: steps with the same parameters and the same names of batch inputs, for buckets of
 * resolution, length and aspect.
 */
export type Variants<P extends TrainStep.Parameters, B extends TensorGraph.Specs> = {
  readonly [variant: string]: TrainStep.TrainStep<P, B>
}

/** A graph was asked for that the trainer was not made with. */
export class GraphMissing extends Schema.TaggedError<GraphMissing>()("GraphMissing", {
  model: Schema.String,
  graph: Schema.String,
}) {
  override get message() {
    return `the trainer of ${this.model} was made without ${this.graph}: add it to the options of Trainer.make`
  }
}

export interface Options extends Session.Options {
  /** Steps that {@link Trainer.steps} makes in one run. @default it is not there */
  readonly stepsPerRun?: number
  /** Whether gradients can be accumulated. @default false */
  readonly accumulate?: boolean
  /** Whether the loss can be computed without training. @default false */
  readonly evaluate?: boolean
}

/** The scalars of a step: `loss`, `norm` (before clipping), `rate` and the metrics. */
export type Report = { readonly [name: string]: number }

/** Tensors by their names in the state: `param/NAME`, `m/NAME`, `v/NAME`, `ema/NAME`, `step`. */
export type State = { readonly [name: string]: Tensor.Tensor }

type Weights<P extends TrainStep.Parameters> = { readonly [K in keyof P]: Tensor.Tensor<"f32"> }
type Batch<B extends TensorGraph.Specs> = { readonly [K in keyof B]: Tensor.Tensor<B[K]["dtype"]> }

export type StepError =
  | NotFinite
  | GraphMissing
  | FeedInvalid
  | RunFailed
  | ThreadLost
  | ProviderMissing
  | ModelInvalid
export type StateError = FeedInvalid | RunFailed | ThreadLost | ProviderMissing | ModelInvalid

export interface Trainer<P extends TrainStep.Parameters, B extends TensorGraph.Specs> {
  /** Begins with these parameters: moments of zero, averages equal to them, step 0. */
  readonly initialize: (parameters: Weights<P>) => Effect.Effect<void, StateError>
  /** Goes on from a state that was read. */
  readonly restore: (state: State) => Effect.Effect<void, StateError>
  /** All of the state: a checkpoint. */
  readonly state: Effect.Effect<State, StateError>
  readonly parameters: Effect.Effect<Weights<P>, StateError>
  /** The moving averages, or the parameters when none are kept. */
  readonly averages: Effect.Effect<Weights<P>, StateError>
  /** How many steps were made. */
  readonly count: Effect.Effect<number, StateError>
  readonly step: (batch: Batch<B>) => Effect.Effect<Report, StepError>
  /** `stepsPerRun` steps in one run. When one is bad, none of them counts. */
  readonly steps: (batches: ReadonlyArray<Batch<B>>) => Effect.Effect<ReadonlyArray<Report>, StepError>
  /** One step on the mean gradient of several batches. */
  readonly accumulated: (batches: ReadonlyArray<Batch<B>>) => Effect.Effect<Report, StepError>
  /** The loss of a batch, without training. */
  readonly evaluate: (batch: Batch<B>) => Effect.Effect<Report, StepError>
  /** The same state, on batches of another shape. */
  readonly variant: (name: string) => Pick<Trainer<P, B>, "step" | "accumulated" | "evaluate">
}

const number = (tensor: Tensor.Tensor, at: number): number => Number(tensor.data[at])

const reportAt = (outputs: State, at: number): Report =>
  Object.fromEntries(
    Object.entries(outputs).flatMap(([name, tensor]) =>
      name === "finite" ? [] : [[name, number(tensor, at)]],
    ),
  )

/** Batches one after another along a new first axis. */
const stack = (tensors: ReadonlyArray<Tensor.Tensor>): Tensor.Tensor => {
  const [{ dtype, shape }] = tensors as readonly [Tensor.Tensor]
  const all = Tensor.zeros(dtype, [tensors.length, ...shape])
  tensors.forEach(({ data }, i) => all.data.set(data as never, i * data.length))
  return all
}

const prefixed = (prefix: string, tensors: { readonly [name: string]: Tensor.Tensor }): State =>
  Object.fromEntries(Object.entries(tensors).map(([name, tensor]) => [`${prefix}/${name}`, tensor]))

/** The name of a variant's graph: that of `step` itself has no prefix. */
const graphKey = (variant: string | undefined, graph: string): string =>
  variant === undefined ? graph : `${variant}/${graph}`

export const make = <P extends TrainStep.Parameters, B extends TensorGraph.Specs>(
  step: TrainStep.TrainStep<P, B>,
  options: Options,
  variants: Variants<P, B> = {},
): Effect.Effect<Trainer<P, B>, Session.OpenError, Scope.Scope | Session.Sessions> =>
  Effect.gen(function* () {
    const { accumulate = false, evaluate = false, stepsPerRun } = options
    const graphsOf = (of: TrainStep.TrainStep<P, B>): Record<string, TensorGraph.TensorGraph> => ({
      step: of.single,
      ...(accumulate ? { accumulate: of.accumulate } : {}),
      ...(evaluate ? { evaluate: of.evaluate } : {}),
    })
    const graphs: Record<string, TensorGraph.TensorGraph> = {
      ...graphsOf(step),
      ...(stepsPerRun === undefined ? {} : { steps: step.scan(stepsPerRun) }),
      ...(accumulate ? { apply: step.apply } : {}),
    }
    for (const [variant, of] of Object.entries(variants))
      for (const [key, graph] of Object.entries(graphsOf(of))) graphs[graphKey(variant, key)] = graph
    const sessions = yield* Session.Sessions
    const host = yield* sessions.host(
      Object.fromEntries(Object.entries(graphs).map(([key, graph]) => [key, Onnx.model(graph)])),
      options,
    )
    return trainerOf(step, variants, host, stepsPerRun)
  })

const trainerOf = <P extends TrainStep.Parameters, B extends TensorGraph.Specs>(
  step: TrainStep.TrainStep<P, B>,
  variants: Variants<P, B>,
  host: Host,
  stepsPerRun: number | undefined,
): Trainer<P, B> => {
  const { hasAverage, name: model, parameters, single, state: stateNames } = step
  const names = Object.keys(parameters)

  const restore = (state: State) =>
    Effect.gen(function* () {
      for (const name of stateNames) {
        const { dtype, shape } = single.inputs[name]!
        const tensor = state[name]
        const problem =
          tensor === undefined
            ? "is missing"
            : tensor.dtype !== dtype || !Shape.equal(tensor.shape, shape)
              ? `is ${tensor.dtype} ${Shape.show(tensor.shape)}, the model takes ${dtype} ${Shape.show(shape)}`
              : undefined
        if (problem !== undefined) return yield* new FeedInvalid({ model, input: name, problem })
      }
      const known = Object.fromEntries(stateNames.map((name) => [name, state[name]!]))
      yield* host.patient({ _tag: "Restore", state: known })
    })

  const read = (wanted?: ReadonlyArray<string>) => host.patient({ _tag: "Read", names: wanted })

  const tensorsOf = (prefix: string) =>
    Effect.map(
      read(names.map((name) => `${prefix}/${name}`)),
      (found) => Object.fromEntries(names.map((name) => [name, found[`${prefix}/${name}`]!])) as Weights<P>,
    )

  const feedsOf = (batch: Batch<B>, variant?: string) =>
    Effect.gen(function* () {
      const of = variant === undefined ? step : variants[variant]
      if (of === undefined) return yield* new GraphMissing({ model, graph: `the variant ${variant}` })
      const declared = Object.entries(of.batch).map(([name, { dtype, shape }]) => ({ name, dtype, shape }))
      yield* Session.checkFeeds(model, declared, batch)
      return prefixed("batch", batch)
    })

  const opened = (key: string, what: string) =>
    host.opened[key] === undefined ? new GraphMissing({ model, graph: what }) : Effect.void

  const count = Effect.map(read(["step"]), ({ step }) => number(step!, 0))

  /** Fails when one of the steps of a run was bad; the thread has kept the state before it. */
  const judged = (outputs: State) =>
    Effect.gen(function* () {
      const { finite, loss, norm } = outputs
      const bad = (finite!.data as Uint8Array).indexOf(0)
      if (bad < 0) return
      const show = (tensor: Tensor.Tensor | undefined) =>
        tensor === undefined ? "" : String(number(tensor, bad))
      return yield* new NotFinite({
        model,
        step: (yield* count) + bad,
        loss: show(loss),
        norm: show(norm),
      })
    })

  const advancing = (variant?: string) => ({
    step: (batch: Batch<B>) =>
      Effect.gen(function* () {
        const feeds = yield* feedsOf(batch, variant)
        const outputs = yield* host.patient({ _tag: "Advance", key: graphKey(variant, "step"), feeds })
        yield* judged(outputs)
        return reportAt(outputs, 0)
      }),
    accumulated: (batches: ReadonlyArray<Batch<B>>) =>
      Effect.gen(function* () {
        yield* opened("accumulate", "accumulate")
        const sums = names.map((name) => [`grad/${name}`, Tensor.zeros("f32", parameters[name]!.shape)])
        yield* host.patient({ _tag: "Restore", state: Object.fromEntries(sums) as State })
        const reports: Array<Report> = []
        for (const batch of batches) {
          const feeds = yield* feedsOf(batch, variant)
          const key = graphKey(variant, "accumulate")
          reports.push(reportAt(yield* host.patient({ _tag: "Advance", key, feeds }), 0))
        }
        const feeds = { count: Tensor.f32([], [batches.length]) }
        const outputs = yield* host.patient({ _tag: "Advance", key: "apply", feeds })
        yield* judged(outputs)
        const mean = (key: string) => reports.reduce((sum, report) => sum + report[key]!, 0) / reports.length
        return {
          ...Object.fromEntries(Object.keys(reports[0] ?? {}).map((key) => [key, mean(key)])),
          ...reportAt(outputs, 0),
        }
      }),
    evaluate: (batch: Batch<B>) =>
      Effect.gen(function* () {
        yield* opened("evaluate", "evaluate")
        const outputs = yield* host.patient({
          _tag: "Observe",
          key: graphKey(variant, "evaluate"),
          feeds: yield* feedsOf(batch, variant),
        })
        return reportAt(outputs, 0)
      }),
  })

  return {
    initialize: (weights) =>
      restore({
        ...prefixed("param", weights),
        ...(hasAverage ? prefixed("ema", weights) : {}),
        ...Object.fromEntries(
          stateNames
            .filter((name) => name.startsWith("m/") || name.startsWith("v/"))
            .map((name) => [name, Tensor.zeros("f32", single.inputs[name]!.shape as ReadonlyArray<number>)]),
        ),
        step: Tensor.i64([], [0]),
      }),
    restore,
    state: read(stateNames),
    parameters: tensorsOf("param"),
    averages: tensorsOf(hasAverage ? "ema" : "param"),
    count,
    steps: (batches) =>
      Effect.gen(function* () {
        yield* opened("steps", "stepsPerRun")
        if (batches.length !== stepsPerRun)
          return yield* new FeedInvalid({
            model,
            input: "batches",
            problem: `are ${batches.length}, a run takes ${stepsPerRun}`,
          })
        const each = yield* Effect.forEach(batches, (batch) => feedsOf(batch))
        const feeds = Object.fromEntries(
          Object.keys(each[0]!).map((name) => [name, stack(each.map((batch) => batch[name]!))]),
        )
        const outputs = yield* host.patient({ _tag: "Advance", key: "steps", feeds })
        yield* judged(outputs)
        return batches.map((_, i) => reportAt(outputs, i))
      }),
    variant: advancing,
    ...advancing(),
  }
}
