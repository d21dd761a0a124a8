/**
 * Steps of training, from wherever the state is to a number of them.
 *
 * There may be several replicas: trainers of the same model that each step on batches of their own, at the same time,
 * and whose states (weights, moments and averages) are replaced by their mean at the end of every window (local SGD:
 * Stich 2018, 1805.09767). On a CPU two single-threaded replicas do half as much again as one with two threads.
 *
 * The work of a step is a function of (step, replica) alone, and states are saved only between windows, so a run that
 * was killed goes on from its checkpoint with the same losses to the last bit.
 */
import * as Tensor from "@reelgraph/onnx/Tensor"
import type * as TensorGraph from "@reelgraph/onnx/TensorGraph"
import type * as Trainer from "@reelgraph/onnx/Trainer"
import type * as TrainStep from "@reelgraph/onnx/TrainStep"
import * as Clock from "effect/Clock"
import * as Effect from "effect/Effect"
import * as Schema from "effect/Schema"

/** What one step trains on: more than one batch is one step on their mean gradient. */
export interface Work<Batch> {
  /** The name of a variant of the trainer's step. */
  readonly variant?: string
  readonly batches: ReadonlyArray<Batch>
}

/** What happened between two points at which states may be saved. */
export interface Window {
  /** Steps made when it ended, from the beginning of training. */
  readonly step: number
  readonly until: number
  /** Means over the window's steps and replicas: `loss`, `norm` and the model's metrics; `rate` is the last one. */
  readonly report: Trainer.Report
  /** The same by variant, for those that occurred; "" is the step without a name. */
  readonly variants: { readonly [variant: string]: Trainer.Report }
  /** Wall time of a step, in milliseconds. */
  readonly stepMillis: number
  /** Milliseconds to the end at this pace. */
  readonly remainingMillis: number
}

export interface Options<P extends TrainStep.Parameters, B extends TensorGraph.Specs, Batch, E, R> {
  /** At least one, all initialised or restored alike. */
  readonly replicas: readonly [Trainer.Trainer<P, B>, ...ReadonlyArray<Trainer.Trainer<P, B>>]
  /** Ends when so many steps were made, counted from the beginning of training. */
  readonly until: number
  /** Steps in a window. */
  readonly window: number
  readonly work: (step: number, replica: number) => Work<Batch>
  readonly onWindow: (window: Window) => Effect.Effect<void, E, R>
  /** Steps between checkpoints, a multiple of the window. */
  readonly checkpointEvery: number
  readonly save: (state: Trainer.State, step: number) => Effect.Effect<void, E, R>
  /** Whether training is to end with the window that has just been made. @default never */
  readonly stopping?: Effect.Effect<boolean> | undefined
}

/** Training was told to end before its end, and has saved what it had. The next attempt goes on from there. */
export class TrainingInterrupted extends Schema.TaggedError<TrainingInterrupted>()("TrainingInterrupted", {
  /** Steps that are saved. */
  step: Schema.Int,
  until: Schema.Int,
}) {
  get retryable(): boolean {
    return true
  }
  override get message() {
    return `training was told to stop, and saved step ${this.step} of ${this.until}: run it again to go on from there`
  }
}

/** Tensors of the types that a step's batch has. */
export type BatchOf<B extends TensorGraph.Specs> = { readonly [K in keyof B]: Tensor.Tensor<B[K]["dtype"]> }

/** The mean of states, tensor by tensor; whole numbers, such as the step, are those of the first. */
export const meanState = (
  states: readonly [Trainer.State, ...ReadonlyArray<Trainer.State>],
): Trainer.State => {
  const [first, ...others] = states
  if (others.length === 0) return first
  return Object.fromEntries(
    Object.entries(first).map(([name, tensor]) => {
      if (tensor.dtype !== "f32") return [name, tensor]
      const sum = (tensor.data as Float32Array).slice()
      for (const other of others) {
        const data = other[name]!.data as Float32Array
        for (let i = 0; i < sum.length; i++) sum[i]! += data[i]!
      }
      for (let i = 0; i < sum.length; i++) sum[i]! /= states.length
      return [name, Tensor.make("f32", tensor.shape, sum)]
    }),
  )
}

/** Means of reports; the rate is the last. */
const meanReport = (reports: ReadonlyArray<Trainer.Report>): Trainer.Report => {
  const last = reports.at(-1) ?? {}
  return Object.fromEntries(
    Object.keys(last).map((name) => [
      name,
      name === "rate"
        ? last[name]!
        : reports.reduce((sum, report) => sum + report[name]!, 0) / reports.length,
    ]),
  )
}

interface Done {
  readonly variant: string
  readonly report: Trainer.Report
}

/** Where a window that begins at `step` ends. */
const windowEnd = (step: number, { until, window }: { readonly until: number; readonly window: number }) =>
  Math.min(until, (Math.floor(step / window) + 1) * window)

/**
 * Trains until the end. Fails with what a step or a save fails with; after `NotFinite` the last checkpoint is the
 * last good state. When it is to stop, it saves the window that it is at, and fails with `TrainingInterrupted`.
 */
export const run = <P extends TrainStep.Parameters, B extends TensorGraph.Specs, E, R>({
  checkpointEvery,
  onWindow,
  replicas,
  save,
  stopping = Effect.succeed(false),
  until,
  window,
  work,
}: Options<P, B, BatchOf<B>, E, R>): Effect.Effect<
  Trainer.State,
  E | Trainer.StepError | Trainer.StateError | TrainingInterrupted,
  R
> => {
  const one = (trainer: Trainer.Trainer<P, B>, { batches, variant }: Work<BatchOf<B>>) => {
    const { accumulated, step } = variant === undefined ? trainer : trainer.variant(variant)
    return Effect.map(batches.length === 1 ? step(batches[0]!) : accumulated(batches), (report): Done => ({
      variant: variant ?? "",
      report,
    }))
  }

  /** The batches of the next step are made while this one runs. */
  const stretch = (trainer: Trainer.Trainer<P, B>, replica: number, from: number, to: number) =>
    Effect.gen(function* () {
      const done: Array<Done> = []
      let next = work(from, replica)
      for (let step = from; step < to; step++) {
        const now = next
        const [report] = yield* Effect.all(
          [
            one(trainer, now),
            Effect.andThen(
              Effect.yieldNow,
              Effect.sync(() => {
                if (step + 1 < to) next = work(step + 1, replica)
              }),
            ),
          ],
          { concurrency: 2 },
        )
        done.push(report)
      }
      return done
    })

  const together = Effect.gen(function* () {
    const states = yield* Effect.all(
      replicas.map(({ state }) => state),
      { concurrency: "unbounded" },
    )
    const state = meanState(states as unknown as readonly [Trainer.State])
    if (replicas.length > 1)
      yield* Effect.forEach(replicas, ({ restore }) => restore(state), { concurrency: "unbounded" })
    return state
  })

  return Effect.gen(function* () {
    let step = yield* replicas[0].count
    let state: Trainer.State | undefined
    while (step < until) {
      const began = yield* Clock.currentTimeMillis
      const to = windowEnd(step, { until, window })
      const from = step
      const done = (yield* Effect.forEach(
        replicas,
        (trainer, replica) => stretch(trainer, replica, from, to),
        { concurrency: "unbounded" },
      )).flat()
      const stops = to < until && (yield* stopping)
      const saves = stops || to % checkpointEvery === 0 || to === until
      state = replicas.length > 1 || saves ? yield* together : undefined
      step = to
      const stepMillis = ((yield* Clock.currentTimeMillis) - began) / (to - from)
      yield* onWindow({
        step,
        until,
        report: meanReport(done.map(({ report }) => report)),
        variants: Object.fromEntries(
          [...new Set(done.map(({ variant }) => variant))].map((variant) => [
            variant,
            meanReport(done.filter((each) => each.variant === variant).map(({ report }) => report)),
          ]),
        ),
        stepMillis,
        remainingMillis: (until - step) * stepMillis,
      })
      if (saves) yield* save(state!, step)
      if (stops) return yield* new TrainingInterrupted({ step, until })
    }
    return state ?? (yield* replicas[0].state)
  })
}
