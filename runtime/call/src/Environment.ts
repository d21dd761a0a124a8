/**
 * The services that operators bring: their layers, built in the process that makes the calls.
 *
 * A layer is built when the first call needs it, in a fiber of its own: calls wait for it, and a call that is interrupted
 * or takes too long gives up the wait, not the layer. Operators that name the same layer, alone or as a part of theirs,
 * share what it gives. A layer that fails with an error that has `retryable: true` is built again, with the waits of
 * {@link Attempts.backoff}, {@link buildsAtMost} times in all. After that, calls fail with its error, and it is not built
 * again in this process: what fails for the first of a hundred thousand items fails for all of them.
 */
import type { Operator, Services } from "@reelgraph/core"
import { BlobStore, Objects, Scratch, type StoreAt, Unfinished } from "@reelgraph/store"
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Fiber from "effect/Fiber"
import * as Layer from "effect/Layer"
import * as Option from "effect/Option"
import * as Schedule from "effect/Schedule"
import * as Schema from "effect/Schema"
import * as Scope from "effect/Scope"

import * as Attempts from "./Attempts.ts"
import * as Failure from "./Failure.ts"

/** The layer of an operator could not be built. */
export class LayerFailed extends Schema.TaggedError<LayerFailed>()("LayerFailed", {
  node: Schema.String,
  operator: Schema.String,
  /** Tag of the layer's error; `Defect` when it threw. */
  tag: Schema.String,
  problem: Schema.String,
}) {
  override get message() {
    return `${this.node} cannot begin, as the layer of ${this.operator} could not be built: ${this.problem} (${this.tag}); mend that and run again`
  }
}

/** How often a layer is built while it fails with errors that may be retried: within half a minute. */
export const buildsAtMost = 8

/** How long closing layers may take. */
const closing = "5 seconds"

const keysOfStore = [BlobStore, Scratch, Unfinished, Objects] as const

/** Keys of the services that calls are given wherever they are made: those of a store. */
export const ofStore: ReadonlyArray<Context.Key<Layer.Success<ReturnType<typeof StoreAt.layer>>, any>> =
  keysOfStore

/** Whether a service is one of a store. */
export const isOfStore = ({ key }: Services.Key): boolean => ofStore.some((known) => known.key === key)

export interface Service {
  /** Gives the calls of an operator what its layer gives; without a layer, the effect itself. */
  readonly provide: <A, E, R>(
    node: string,
    operator: Operator.Any,
    effect: Effect.Effect<A, E, R>,
  ) => Effect.Effect<A, E | LayerFailed, R>
  /** Closes the layers that were built, and gives the problems of it: a sentence each. */
  readonly close: Effect.Effect<ReadonlyArray<string>>
}

export class Environment extends Context.Service<Environment, Service>()("reelgraph/call/Environment") {}

/** An environment whose layers are built with the services of whoever makes it. It is to be closed. */
export const make: Effect.Effect<Service> = Effect.map(Effect.context(), (context) => {
  const memoMap = Layer.makeMemoMapUnsafe()
  const scope = Scope.makeUnsafe()
  const run = Effect.runForkWith(context)
  const fibers = new Map<Services.AnyLayer, Fiber.Fiber<Context.Context<never>, unknown>>()
  const built = new Map<Services.AnyLayer, Context.Context<never>>()

  /** Each time in a scope of its own: what a build that failed had acquired is released before the next. */
  const build = (layer: Layer.Layer<never, unknown>) =>
    Effect.suspend(() => {
      const within = Scope.forkUnsafe(scope)
      return Effect.onExit(Layer.buildWithMemoMap(layer, memoMap, within), (exit) =>
        Exit.isSuccess(exit) ? Effect.void : Scope.close(within, exit),
      )
    }).pipe(
      Effect.retry({
        schedule: Attempts.backoff.pipe(Schedule.upTo({ times: buildsAtMost - 1 })),
        while: (error) => Failure.fromError(error).retryable,
      }),
    )

  const services = (node: string, { layer, name, version }: Operator.Any) =>
    Effect.suspend(() => {
      let fiber = fibers.get(layer!)
      if (fiber === undefined) {
        fiber = run(build(layer as Layer.Layer<never, unknown>))
        fibers.set(layer!, fiber)
      }
      return Effect.flatMap(Fiber.await(fiber), (exit) => {
        if (Exit.isSuccess(exit)) {
          built.set(layer!, exit.value)
          return Effect.succeed(exit.value)
        }
        const { message, tag } = Failure.fromCause(exit.cause)
        return Effect.fail(new LayerFailed({ node, operator: `${name}@${version}`, tag, problem: message }))
      })
    })

  /** In a fiber of its own: whoever closes may have been interrupted. */
  const closed = Effect.gen(function* () {
    const fiber = yield* Effect.forkDetach(
      Effect.andThen(Fiber.interruptAll(fibers.values()), Scope.close(scope, Exit.void)),
    )
    const exit = yield* Effect.timeoutOption(Fiber.await(fiber), closing)
    if (Option.isNone(exit))
      return [`layers of operators were not closed within ${closing}; what they hold ends with the process`]
    return Exit.isSuccess(exit.value)
      ? []
      : [`a layer of an operator failed while it was closed: ${Failure.fromCause(exit.value.cause).message}`]
  })

  return {
    provide: (node, operator, effect) => {
      if (operator.layer === undefined) return effect
      const ready = built.get(operator.layer)
      return ready === undefined
        ? Effect.flatMap(services(node, operator), (given) => Effect.provideContext(effect, given))
        : Effect.provideContext(effect, ready)
    },
    close: Effect.suspend(() => (fibers.size === 0 ? Effect.succeed([]) : Fiber.join(run(closed)))),
  }
})

/** An environment that is closed with the scope; it is to have the services that layers of operators may need. */
export const layer: Layer.Layer<Environment> = Layer.effect(
  Environment,
  Effect.acquireRelease(make, ({ close }) => Effect.asVoid(close)),
)
