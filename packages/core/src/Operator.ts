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
import type { Decision, Drop } from "./Drop.ts"
import { NameInvalid, VersionInvalid } from "./GraphError.ts"
import * as CallSites from "./internal/CallSites.ts"
import * as Names from "./internal/Names.ts"
import type { Any, Call, Cardinality, Params, Side, Sides } from "./internal/operatorFacts.ts"
import * as Node from "./Node.ts"
import type * as Port from "./Port.ts"
import type { Resources } from "./Resources.ts"
import type * as Services from "./Services.ts"

export type { Any, Call, Cardinality, Params, Side, Sides } from "./internal/operatorFacts.ts"

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

type NoParams = Schema.Struct<{}>

type Run<Input, P extends Params, S extends Sides, Output, E, R> = (
  input: Input,
  params: P["Type"],
  call: Call<SideRecords<S>>,
) => Effect.Effect<Output, E, R>

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
