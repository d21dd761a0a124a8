/**
 * Operators: named, versioned, typed steps. An operator is a plain value that is also a function: called
 * with params it gives a {@link Node} to wire into a graph.
 *
 * @example
 * ```ts
 * export const Brightness = Operator.filter("brightness", {
 *   version: "1.0.0",
 *   input: Clip,
 *   params: Schema.Struct({ min: Schema.Finite }),
 *   run: (clip, { min }) =>
 *     Effect.map(meanLuma(clip), (luma) => (luma >= min ? keep : drop("too-dark", `mean luma ${luma} below ${min}`))),
 * })
 * ```
 */
import type * as Effect from "effect/Effect"
import type * as Layer from "effect/Layer"
import * as Schema from "effect/Schema"

import type * as Canonical from "./Canonical.ts"
import type * as CounterRandom from "./CounterRandom.ts"
import type * as Digest from "./Digest.ts"
import type { Decision, Drop } from "./Drop.ts"
import { NameInvalid, VersionInvalid } from "./GraphError.ts"
import * as CallSites from "./internal/CallSites.ts"
import * as Names from "./internal/Names.ts"
import * as Node from "./Node.ts"
import type * as Port from "./Port.ts"
import type { Progress } from "./Progress.ts"
import type { Resources } from "./Resources.ts"
import type * as Services from "./Services.ts"

/**
 * How many records come out for what goes in: `map` one for one; `filter` the same one or none; `flatMap` any
 * number for one; `batch` one for one, run on several at once; `collect` any number for all.
 */
export type Cardinality = "map" | "filter" | "flatMap" | "batch" | "collect"

/** A second input, beside the one that drives calls: exactly one item (`one`) or every item (`all`) of an edge. */
export interface Side<P extends Port.Any = Port.Any, Mode extends "one" | "all" = "one" | "all"> {
  readonly mode: Mode
  readonly port: P
}

export type Sides = { readonly [name: string]: Side }

/** A side input of exactly one item, such as a checkpoint. */
export const one = <P extends Port.Any>(port: P): Side<P, "one"> => ({ mode: "one", port })

/** A side input of every item of an edge, in an order that does not depend on how they were made. */
export const all = <P extends Port.Any>(port: P): Side<P, "all"> => ({ mode: "all", port })

type SideRecords<S extends Sides> = {
  readonly [K in keyof S]: S[K] extends Side<infer P, infer Mode>
    ? Mode extends "one"
      ? Port.RecordOf<P>
      : ReadonlyArray<Port.RecordOf<P>>
    : never
}

/** What a call knows beside its record and its params. */
export interface Call<S = {}> {
  /** Digest of the item that drives this call (of the set of items, for `collect`). */
  readonly item: Digest.Digest
  /** The key of this call's random numbers; only of use to operators with `seeded: true`. */
  readonly random: CounterRandom.Key
  /**
   * For `batch`: the key of each record, in order, so that what a record draws does not depend on the others of its
   * batch. For other operators, `random` alone.
   */
  readonly randoms: ReadonlyArray<CounterRandom.Key>
  /**
   * What this call's work is known by, in every attempt and every run: digest of the operator, its version, its
   * params, its side inputs, the seed if it is `seeded`, and the item (for `batch`, the items). Names the folder in
   * which a long call keeps its unfinished work.
   */
  readonly key: Digest.Digest
  /** 1 for the first attempt. */
  readonly attempt: number
  /** Tells how far this call has come. Costs next to nothing: of many reports the latest is shown, now and then. */
  readonly progress: (report: Progress) => Effect.Effect<void>
  /**
   * Whether whoever makes this call is about to be ended, as a job is that others preempt. A call of hours asks now and
   * then, keeps what it has, and fails with an error that has `retryable: true`: it is made again elsewhere. Never
   * true where nobody is told. Gives way to other work of the process, so that news arrive.
   */
  readonly stopping: Effect.Effect<boolean>
  readonly sides: S
}

/** A new record that `collect` gives, made `from` the inputs at these positions. */
export interface Emit<out Out> {
  readonly _tag: "Emit"
  readonly record: Out
  readonly from: ReadonlyArray<number>
}

/** What `collect` gives: new records, inputs passed on as they are, and inputs dropped. */
export type Emission<Out> =
  | Emit<Out>
  | { readonly _tag: "Pass"; readonly at: number }
  | { readonly _tag: "Drop"; readonly at: number; readonly drop: Drop }

/** A new record made from the inputs at these positions. */
export const emit = <Out>(record: Out, from: ReadonlyArray<number>): Emit<Out> => ({
  _tag: "Emit",
  record,
  from,
})

/** The input at a position, passed on unchanged. */
export const pass = (at: number): Emission<never> => ({ _tag: "Pass", at })

/** The input at a position, taken out of the flow. */
export const dropAt = (at: number, drop: Drop): Emission<never> => ({ _tag: "Drop", at, drop })

/** What every operator says about itself. */
interface Common<
  In extends Port.Any,
  P extends Params,
  S extends Sides,
  L extends Services.AnyLayer,
  Needs extends Services.Keys,
> {
  /** Semantic version. Results are cached by it: change it when results may change. */
  readonly version: string
  readonly description?: string
  readonly params?: P
  readonly input: In
  readonly sides?: S
  /** @default { cores: 1 } */
  readonly resources?: Resources
  /**
   * `import.meta.url` of the module that exports this operator: calls then run in a worker process, which
   * may be killed on a timeout or an interruption. For work that blocks or may crash.
   */
  readonly worker?: string
  /** Calls at once. @default as many as the pool has cores for; 1 for operators without `worker` */
  readonly concurrency?: number
  /** Milliseconds that one call may take. @default none */
  readonly timeoutMs?: number
  /** Further attempts after a failure whose error has `retryable: true`, a time-out or a lost worker. @default 2 */
  readonly retries?: number
  /** Whether `run` draws from `call.random` (`call.randoms` in a batch): the graph's seed then becomes part of the cache key. @default false */
  readonly seeded?: boolean
  /**
   * Gives `run` services: a model, a client, a pool. Built once in each process that makes calls, when the first call
   * is made there, shared by all operators that name the same layer, and closed at the end. The first call waits for it,
   * and its `timeoutMs` counts. What it needs itself is to be in `needs`.
   */
  readonly layer?: L
  /**
   * Keys of the services that `run` and `layer` need from whoever runs the graph, such as `BlobStore`. Workers give
   * those of a store. @default none
   */
  readonly needs?: Needs
}

/** A schema without services, whose encoded form is JSON. */
export type Params<A = any> = Schema.Codec<A, any>

type NoParams = Schema.Struct<{}>

type Run<Input, P extends Params, S extends Sides, Output, E, R> = (
  input: Input,
  params: P["Type"],
  call: Call<SideRecords<S>>,
) => Effect.Effect<Output, E, R>

/** An operator whose types are erased: what a runtime works with. */
export interface Any {
  readonly name: string
  readonly version: string
  readonly description: string
  readonly cardinality: Cardinality
  readonly params: Params
  readonly input: Port.Any
  /** Absent: an operator that gives the records it takes (`filter`). */
  readonly output: Port.Any | undefined
  readonly sides: Sides
  readonly resources: Resources
  readonly worker: string | undefined
  readonly concurrency: number | undefined
  readonly timeoutMs: number | undefined
  readonly retries: number
  readonly seeded: boolean
  /** Largest batch; 1 for everything but `batch`. */
  readonly batchSize: number
  /**
   * URLs or paths of the modules whose code made this value, the innermost first: the one that defines it, and, when a
   * function made it, those of its callers. What the code of an operator is known by begins here.
   */
  readonly modules: ReadonlyArray<string>
  /** Gives services to `run`; absent: it needs none but those of `needs`. */
  readonly layer: Services.AnyLayer | undefined
  /** Whether the layer is another than the one that the operator's code gives it: see {@link withLayer}. */
  readonly relayered: boolean
  /** Keys of the services that `run` and `layer` need from the runtime. */
  readonly needs: Services.Keys
  readonly run: (input: any, params: any, call: Call<any>) => Effect.Effect<any, any, any>
}

/** The arguments of an operator: optional when every param is. The type `{}` alone would take any object. */
type Given<Encoded> = {} extends Encoded
  ? [params?: keyof Encoded extends never ? { readonly [param: string]: never } : Encoded]
  : [params: Encoded]

/**
 * An operator: a value with its facts, and a function from params to a {@link Node.Node}. `R` are the services that it
 * needs from whoever runs it.
 */
export interface Operator<
  out Name extends string,
  out In extends Port.Any,
  out Out extends Port.Any | Node.Same,
  P extends Params,
  S extends Sides,
  out R = never,
> extends Omit<Any, "name"> {
  readonly name: Name
  readonly params: P
  (...params: Given<P["Encoded"]>): Node.Node<Name, In, Out, S, R>
}

export const isOperator = (value: unknown): value is Any =>
  typeof value === "function" && (value as { [TypeId]?: unknown })[TypeId] === true

const TypeId = Symbol.for("reelgraph/core/Operator")

/** One record out for one in. */
export const map = <
  const Name extends string,
  In extends Port.Any,
  Out extends Port.Any,
  E,
  P extends Params = NoParams,
  const S extends Sides = {},
  R = never,
  L extends Services.AnyLayer = Layer.Layer<never>,
  const Needs extends Services.Keys = [],
  Whole = Services.Unseen,
>(
  name: Services.Met<Name, R, L, Needs, Whole>,
  options: Common<In, P, S, L, Needs> &
    Services.Seen<Whole> & {
      readonly output: Out
      readonly run: Run<Port.RecordOf<In>, P, S, Port.RecordOf<NoInfer<Out>>, E, R>
    },
): Operator<Name, In, Out, P, S, Services.Of<Needs>> => make(name, "map", options)

/** The record that came in, or a drop with its reason. */
export const filter = <
  const Name extends string,
  In extends Port.Any,
  E,
  P extends Params = NoParams,
  const S extends Sides = {},
  R = never,
  L extends Services.AnyLayer = Layer.Layer<never>,
  const Needs extends Services.Keys = [],
  Whole = Services.Unseen,
>(
  name: Services.Met<Name, R, L, Needs, Whole>,
  options: Common<In, P, S, L, Needs> &
    Services.Seen<Whole> & { readonly run: Run<Port.RecordOf<In>, P, S, Decision, E, R> },
): Operator<Name, In, Node.Same, P, S, Services.Of<Needs>> => make(name, "filter", options)

/** Any number of records for one. */
export const flatMap = <
  const Name extends string,
  In extends Port.Any,
  Out extends Port.Any,
  E,
  P extends Params = NoParams,
  const S extends Sides = {},
  R = never,
  L extends Services.AnyLayer = Layer.Layer<never>,
  const Needs extends Services.Keys = [],
  Whole = Services.Unseen,
>(
  name: Services.Met<Name, R, L, Needs, Whole>,
  options: Common<In, P, S, L, Needs> &
    Services.Seen<Whole> & {
      readonly output: Out
      readonly run: Run<Port.RecordOf<In>, P, S, ReadonlyArray<Port.RecordOf<NoInfer<Out>>>, E, R>
    },
): Operator<Name, In, Out, P, S, Services.Of<Needs>> => make(name, "flatMap", options)

/** One record (or drop) out for each one in, run on up to `size` at once. Results are cached item by item. */
export const batch = <
  const Name extends string,
  In extends Port.Any,
  Out extends Port.Any,
  E,
  P extends Params = NoParams,
  const S extends Sides = {},
  R = never,
  L extends Services.AnyLayer = Layer.Layer<never>,
  const Needs extends Services.Keys = [],
  Whole = Services.Unseen,
>(
  name: Services.Met<Name, R, L, Needs, Whole>,
  options: Common<In, P, S, L, Needs> &
    Services.Seen<Whole> & {
      readonly output: Out
      readonly size: number
      readonly run: Run<
        ReadonlyArray<Port.RecordOf<In>>,
        P,
        S,
        ReadonlyArray<Port.RecordOf<NoInfer<Out>> | Drop>,
        E,
        R
      >
    },
): Operator<Name, In, Out, P, S, Services.Of<Needs>> =>
  make(name, "batch", { ...options, batchSize: options.size })

/** Any number of records for all of an edge, which arrive sorted by digest. Adding an item runs it again. */
export const collect = <
  const Name extends string,
  In extends Port.Any,
  Out extends Port.Any,
  E,
  P extends Params = NoParams,
  const S extends Sides = {},
  R = never,
  L extends Services.AnyLayer = Layer.Layer<never>,
  const Needs extends Services.Keys = [],
  Whole = Services.Unseen,
>(
  name: Services.Met<Name, R, L, Needs, Whole>,
  options: Common<In, P, S, L, Needs> &
    Services.Seen<Whole> & {
      readonly output: Out
      readonly run: Run<
        ReadonlyArray<Port.RecordOf<In>>,
        P,
        S,
        ReadonlyArray<Emission<Port.RecordOf<NoInfer<Out>>>>,
        E,
        R
      >
    },
): Operator<Name, In, Out, P, S, Services.Of<Needs>> => make(name, "collect", options)

/** The serialised form of an operator's own facts. */
export const toJson = (operator: Any): { readonly [key: string]: Canonical.Json } => ({
  name: operator.name,
  version: operator.version,
  cardinality: operator.cardinality,
  resources: operator.resources,
  seeded: operator.seeded,
})

const make = (
  name: string,
  cardinality: Cardinality,
  options: Common<Port.Any, any, any, Services.AnyLayer, Services.Keys> & {
    readonly output?: Port.Any
    readonly batchSize?: number
    readonly run: (...args: Array<any>) => Effect.Effect<any, any, any>
  },
): any => {
  if (!Names.isName(name)) throw new NameInvalid({ of: "operator", given: name })
  if (!Names.isVersion(options.version))
    throw new VersionInvalid({ of: `operator ${name}`, version: options.version })
  const facts: Omit<Any, "name"> = {
    version: options.version,
    description: options.description ?? "",
    cardinality,
    params: options.params ?? Schema.Struct({}),
    input: options.input,
    output: options.output,
    sides: options.sides ?? {},
    resources: options.resources ?? { cores: 1 },
    worker: options.worker,
    concurrency: options.concurrency,
    timeoutMs: options.timeoutMs,
    retries: options.retries ?? 2,
    seeded: options.seeded ?? false,
    batchSize: options.batchSize ?? 1,
    modules: CallSites.modules(),
    layer: options.layer,
    relayered: false,
    needs: options.needs ?? [],
    run: options.run,
  }
  return fromFacts(name, facts)
}

const fromFacts = (name: string, facts: Omit<Any, "name">): any => {
  const operator = (params: unknown = {}) => Node.make(operator as unknown as Any, params)
  Object.defineProperty(operator, "name", { value: name })
  return Object.assign(operator, facts, { [TypeId]: true })
}

/**
 * The same operator with another layer. Its calls are made in the process of the engine, as workers know the module's
 * own layer alone, and only this very value finds their results again.
 */
export const withLayer = (operator: Any, layer: Services.AnyLayer): Any =>
  fromFacts(operator.name, { ...operator, layer, relayered: true, worker: undefined })
