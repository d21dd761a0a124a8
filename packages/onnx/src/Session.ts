/**
 * Models that run: each in a thread of its own, on the execution provider it was asked for and no other.
 *
 * ```ts
 * const program = Effect.gen(function* () {
 *   const session = yield* Session.open(Onnx.model(graph), { provider: "cpu" })
 *   const { y } = yield* session.run({ x: Tensor.f32([1, 4], [1, 2, 3, 4]) })
 * }).pipe(Effect.scoped, Effect.provide(Session.layer()))
 * ```
 */
import { createHash } from "node:crypto"
import { createReadStream } from "node:fs"
import { pipeline } from "node:stream/promises"

import * as Context from "effect/Context"
import type * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as RcMap from "effect/RcMap"
import * as Schema from "effect/Schema"
import type * as Scope from "effect/Scope"
import * as Semaphore from "effect/Semaphore"

import * as Host from "./internal/host.ts"
import type { Declared, Opened, Provider as ProviderName, Source } from "./internal/protocol.ts"
import {
  FeedInvalid,
  type ModelInvalid,
  type ProviderMissing,
  type RunFailed,
  SessionTimeout,
  type ThreadLost,
} from "./SessionError.ts"
import type { Model, ModelBytes } from "./Onnx.ts"
import * as Shape from "./Shape.ts"
import type { Tensor } from "./Tensor.ts"
import type { Value } from "./Value.ts"

export type Provider = ProviderName

/** A model file could not be read, or is not the one that was meant. */
export class ModelFileUnreadable extends Schema.TaggedError<ModelFileUnreadable>()("ModelFileUnreadable", {
  path: Schema.String,
  problem: Schema.String,
}) {
  override get message() {
    return `cannot read the model ${this.path}: ${this.problem}`
  }
}

/** All of the cache's places are taken by sessions in use. */
export class SessionsFull extends Schema.TaggedError<SessionsFull>()("SessionsFull", {
  capacity: Schema.Int,
}) {
  override get message() {
    return `${this.capacity} sessions are in use, which is as many as may be; close one or raise the capacity`
  }
}

/** A model in a file: ONNX of any origin. Large models with data beside them have to be files. */
export interface ModelFile {
  readonly name: string
  readonly path: string
  readonly digest: string
}

/** A model, in memory or in a file. */
export type AnyModel = ModelBytes | ModelFile

export interface Options {
  /** Where it runs. There is no default and no other choice is made behind it. */
  readonly provider: Provider
  /** Threads of one operator on the CPU. @default 1 */
  readonly threads?: number
}

export interface RunOptions {
  /**
   * Hands the feeds' buffers over to the session instead of copying them: they are empty afterwards.
   * @default false
   */
  readonly transfer?: boolean
  /** @default none */
  readonly timeout?: Duration.Input
}

/** Tensors by name, of the types that a graph's values have. */
export type TensorsOf<V extends { readonly [name: string]: Value }> = {
  readonly [K in keyof V]: Tensor<V[K]["dtype"]>
}

export type RunError = FeedInvalid | RunFailed | SessionTimeout | ThreadLost | OpenError
export type OpenError = ProviderMissing | ModelInvalid | ThreadLost

export interface Session<
  I extends { readonly [name: string]: Value } = { readonly [name: string]: Value },
  O extends { readonly [name: string]: Value } = { readonly [name: string]: Value },
> {
  readonly name: string
  readonly digest: string
  readonly provider: Provider
  readonly inputs: ReadonlyArray<Declared>
  readonly outputs: ReadonlyArray<Declared>
  /**
   * Runs the model. An interruption or a timeout ends at once: the thread is given up (it ends by itself when the
   * operator it is in is done) and the next run starts another.
   */
  readonly run: (feeds: TensorsOf<I>, options?: RunOptions) => Effect.Effect<TensorsOf<O>, RunError>
}

export class Sessions extends Context.Service<
  Sessions,
  {
    /** A session of this model with these options; the same for everyone who asks while it is open. */
    readonly open: <
      I extends { readonly [name: string]: Value },
      O extends { readonly [name: string]: Value },
    >(
      model: Model<I, O> | ModelBytes | ModelFile,
      options: Options,
    ) => Effect.Effect<Session<I, O>, OpenError | SessionsFull, Scope.Scope>
    /** A thread with several models and no cache, for a training run. */
    readonly host: (
      models: { readonly [key: string]: AnyModel },
      options: Options,
    ) => Effect.Effect<Host.Host, OpenError, Scope.Scope>
  }
>()("reelgraph/onnx/Sessions") {}

/** {@link Sessions}' `open`. */
export const open = <
  I extends { readonly [name: string]: Value },
  O extends { readonly [name: string]: Value },
>(
  model: Model<I, O> | ModelBytes | ModelFile,
  options: Options,
): Effect.Effect<Session<I, O>, OpenError | SessionsFull, Scope.Scope | Sessions> =>
  Effect.flatMap(Sessions, (sessions) => sessions.open(model, options))

/** A model file by its digest, which is computed, and compared with `expected` when that is given. */
export const fromFile = (
  path: string,
  options: { readonly name?: string; readonly expected?: string } = {},
): Effect.Effect<ModelFile, ModelFileUnreadable> =>
  Effect.gen(function* () {
    const sha256 = createHash("sha256")
    yield* Effect.tryPromise({
      try: () => pipeline(createReadStream(path), sha256),
      catch: (cause) => new ModelFileUnreadable({ path, problem: (cause as Error).message }),
    })
    const digest = sha256.digest("hex")
    const { expected, name = path } = options
    if (expected !== undefined && expected !== digest)
      return yield* new ModelFileUnreadable({ path, problem: `its sha256 is ${digest}, not ${expected}` })
    return { name, path, digest }
  })

const sourceOf = (model: AnyModel): Source =>
  "path" in model ? { path: model.path } : { bytes: model.bytes }

/** Why a tensor is not what an input takes. */
const misfit = (
  input: Declared,
  tensor: Tensor | undefined,
  symbols: Map<string, number>,
): string | undefined => {
  if (tensor === undefined) return "is missing"
  if (tensor.dtype !== input.dtype) return `is ${tensor.dtype}, the model takes ${input.dtype}`
  const fits =
    tensor.shape.length === input.shape.length &&
    input.shape.every((dim, axis) => {
      const given = tensor.shape[axis]!
      if (typeof dim === "number") return dim === given
      const known = symbols.get(dim)
      if (dim !== "") symbols.set(dim, given)
      return known === undefined || known === given
    })
  return fits ? undefined : `is ${Shape.show(tensor.shape)}, the model takes ${Shape.show(input.shape)}`
}

/** Checks feeds against what a model declares. */
export const checkFeeds = (
  model: string,
  inputs: ReadonlyArray<Declared>,
  feeds: { readonly [name: string]: Tensor },
): Effect.Effect<void, FeedInvalid> =>
  Effect.suspend(() => {
    const symbols = new Map<string, number>()
    for (const input of inputs) {
      const problem = misfit(input, feeds[input.name], symbols)
      if (problem !== undefined) return new FeedInvalid({ model, input: input.name, problem })
    }
    const names = new Set(inputs.map(({ name }) => name))
    const unknown = Object.keys(feeds).find((name) => !names.has(name))
    return unknown === undefined
      ? Effect.void
      : new FeedInvalid({
          model,
          input: unknown,
          problem: `is no input; the model takes ${[...names].join(", ")}`,
        })
  })

const buffersOf = (feeds: { readonly [name: string]: Tensor }): ReadonlyArray<ArrayBuffer> => [
  ...new Set(
    Object.values(feeds)
      .map(({ data }) => data.buffer)
      .filter((buffer) => buffer instanceof ArrayBuffer),
  ),
]

interface Loaded {
  readonly host: Host.Host
  readonly opened: Opened
}

const modelKey = "model"

const sessionOf = (model: AnyModel, options: Options, { host, opened }: Loaded): Session => ({
  name: model.name,
  digest: model.digest,
  provider: options.provider,
  inputs: opened.inputs,
  outputs: opened.outputs,
  run: Effect.fn("Session.run")(function* (feeds, { timeout, transfer = false } = {}) {
    yield* checkFeeds(model.name, opened.inputs, feeds)
    const running = host.exclusive({ _tag: "Run", key: modelKey, feeds }, transfer ? buffersOf(feeds) : [])
    return yield* timeout === undefined
      ? running
      : Effect.timeoutOrElse(running, {
          duration: timeout,
          orElse: () => new SessionTimeout({ model: model.name }),
        })
  }),
})

export interface LayerOptions {
  /** Sessions held at once; when a new one needs room, the one longest unused is closed. @default 8 */
  readonly capacity?: number
  /** How long an unused session stays open. @default "1 minute" */
  readonly idle?: Duration.Input
}

export const layer = ({ capacity = 8, idle = "1 minute" }: LayerOptions = {}): Layer.Layer<Sessions> =>
  Layer.effect(
    Sessions,
    Effect.gen(function* () {
      const requests = new Map<string, readonly [AnyModel, Options]>()
      /** By key in the order of last use: how many hold it. */
      const users = new Map<string, number>()
      const turn = yield* Semaphore.make(1)
      const loaded = yield* RcMap.make({
        idleTimeToLive: idle,
        lookup: (key: string) => {
          const [model, options] = requests.get(key)!
          const forget = Effect.sync(() => {
            requests.delete(key)
            users.delete(key)
          })
          return Effect.gen(function* () {
            const host = yield* Host.make({ [modelKey]: hosted(model, options) })
            // The last finalizer added is the first to run: the key is free before the thread is waited for.
            yield* Effect.addFinalizer(() => forget)
            return { host, opened: host.opened[modelKey]! }
          }).pipe(Effect.tapError(() => forget))
        },
      })

      const makeRoom = (key: string) =>
        Effect.gen(function* () {
          if (users.has(key) || users.size < capacity) return
          const unused = [...users].find(([, count]) => count === 0)?.[0]
          if (unused === undefined) return yield* new SessionsFull({ capacity })
          yield* RcMap.invalidate(loaded, unused)
        })

      const count = (key: string, by: number) =>
        Effect.sync(() => {
          const before = users.get(key)
          users.delete(key)
          if (before !== undefined || by > 0) users.set(key, (before ?? 0) + by)
        })

      const openAny = (model: AnyModel, options: Options) =>
        Effect.gen(function* () {
          const key = `${model.digest} ${options.provider} ${options.threads ?? 1}`
          yield* Effect.acquireRelease(
            turn.withPermits(1)(Effect.andThen(makeRoom(key), count(key, 1))),
            () => count(key, -1),
          )
          requests.set(key, [model, options])
          const found = yield* RcMap.get(loaded, key).pipe(
            Effect.tapError(() => RcMap.invalidate(loaded, key)),
          )
          return sessionOf(model, options, found)
        })

      return Sessions.of({
        open: openAny as Sessions["Service"]["open"],
        host: (models, options) =>
          Host.make(
            Object.fromEntries(Object.entries(models).map(([key, model]) => [key, hosted(model, options)])),
          ),
      })
    }),
  )

const hosted = (model: AnyModel, { provider, threads = 1 }: Options): Host.Hosted => ({
  name: model.name,
  source: sourceOf(model),
  provider,
  threads,
})
