/**
 * Cost profiles: what the work of a graph costs, as data. For every operator (or node) the seconds of an item with
 * their spread, what comes out of it, its bytes and how often it fails. Written by hand in a profile file, or
 * {@link measured} from the runs of a store.
 *
 * @example
 * ```ts
 * export default Profile.make({
 *   items: { videos: 20_000_000 },
 *   operators: {
 *     measure: { seconds: { mean: 55, sigma: 0.8 }, bytesIn: 60e6, bytesOut: 40e3 },
 *     motion: { seconds: 0.0001, keep: 0.8 },
 *     train: { compute: { flops: 6 * 30e9 * 1e13, peakFlops: 989e12, utilization: 0.38 }, emits: 1 },
 *   },
 * })
 * ```
 */
import type { Graph } from "@reelgraph/core"
import * as Effect from "effect/Effect"
import * as Schema from "effect/Schema"

import * as Overheads from "./Overheads.ts"

const Positive = Schema.Finite.check(Schema.isGreaterThan(0))
const Amount = Schema.Finite.check(Schema.isGreaterThanOrEqualTo(0))
const Share = Schema.Finite.check(Schema.isBetween({ minimum: 0, maximum: 1 }))
const Count = Schema.Int.check(Schema.isGreaterThanOrEqualTo(0))

const amount = (value: number) => Amount.pipe(Schema.withDecodingDefaultKey(Effect.succeed(value)))
const share = (value: number) => Share.pipe(Schema.withDecodingDefaultKey(Effect.succeed(value)))

/**
 * Seconds of one item: always the same; lognormal, by its mean and the deviation `sigma` of its logarithm; or as it
 * was measured, by quantiles at equal steps from the least to the greatest, straight between them.
 */
export const Seconds = Schema.Union([
  Amount,
  Schema.Struct({ mean: Positive, sigma: Amount }),
  Schema.Struct({ quantiles: Schema.Array(Amount).check(Schema.isMinLength(2)) }),
])
export type Seconds = typeof Seconds.Type

/** Work given by its operations: takes `flops / (GPUs x peakFlops x utilization)` seconds. */
export const Compute = Schema.Struct({
  /** Floating-point operations of the whole call. */
  flops: Positive,
  /** Of one GPU, a second, in the number format that is used. */
  peakFlops: Positive,
  /** Share of the peak that is reached, communication included (MFU). */
  utilization: Share.check(Schema.isGreaterThan(0)),
})
export type Compute = typeof Compute.Type

/** What an item of an operator costs, and what comes of it. */
export const OperatorProfile = Schema.Struct({
  /** Of one call, on the resources that it is placed with. For `collect`, beside `fixedSeconds`, of each item. @default 0 */
  seconds: Seconds.pipe(Schema.withDecodingDefaultKey(Effect.succeed(0))),
  /** Of each call, independent of its items; of use for `collect`. @default 0 */
  fixedSeconds: amount(0),
  /** Of each call, beside the seconds; of use for gangs. */
  compute: Schema.optionalKey(Compute),
  /** From the start of a worker until its first call: loading models. @default 0 */
  startupSeconds: amount(0),
  /** Share of the items that it does not drop. @default 1 */
  keep: share(1),
  /** Items given for one that is not dropped. @default 1 */
  out: amount(1),
  /** Deviation of `out` over items, relative to it. @default 0 */
  outSpread: amount(0),
  /** For `collect`: so many new items, instead of passing on those that it does not drop. */
  emits: Schema.optionalKey(Count),
  /** Chance that an attempt fails in a way that is tried again. @default 0 */
  failing: share(0),
  /** Share of the items that fail in every attempt. @default 0 */
  poison: share(0),
  /** Read from the store for an item. @default 0 */
  bytesIn: amount(0),
  /** Written to the store for an item that is called for. @default 0 */
  bytesOut: amount(0),
  /** What a call needs at most; warns when it is placed with less. */
  memoryGiB: Schema.optionalKey(Positive),
  /** Seconds between two checkpoints of a call of hours, from which a lost gang goes on. @default it begins again */
  checkpointSeconds: Schema.optionalKey(Positive),
  /** Where the numbers are from. */
  source: Schema.optionalKey(Schema.String),
})
export type OperatorProfile = typeof OperatorProfile.Type

/** What comes in through an input: all at the beginning, or one by one at a rate. */
export const Arrivals = Schema.Struct({
  count: Count,
  perSecond: Positive,
  /** Like clockwork, or at random (`poisson`). @default "regular" */
  spread: Schema.Literals(["regular", "poisson"]).pipe(
    Schema.withDecodingDefaultKey(Effect.succeed("regular" as const)),
  ),
})
export type Arrivals = typeof Arrivals.Type

export const Profile = Schema.Struct({
  /** By node id or operator name; the node's word goes first. */
  operators: Schema.Record(Schema.String, OperatorProfile),
  /** Items of the inputs of the graph. */
  items: Schema.Record(Schema.String, Schema.Union([Count, Arrivals])).pipe(
    Schema.withDecodingDefaultKey(Effect.succeed({})),
  ),
  /** What the store as a whole reads and writes, bytes a second. @default no limit */
  storeBytesPerSecond: Schema.optionalKey(Positive),
  /** What the prices of the pools are in. @default "" */
  currency: Schema.String.pipe(Schema.withDecodingDefaultKey(Effect.succeed(""))),
  /** What the cluster adds. */
  overheads: Overheads.Overheads.pipe(Schema.withDecodingDefaultKey(Effect.succeed({}))),
})
export type Profile = typeof Profile.Type

export type Options = typeof Profile.Encoded

const TypeId = Symbol.for("reelgraph/placement/Profile")

/**
 * A profile from the content of a file.
 *
 * @throws SchemaError where it is written, naming the field that is wrong
 */
export const make = (options: Options): Profile => branded(Schema.decodeUnknownSync(Profile)(options))

const branded = (profile: Profile): Profile => Object.defineProperty({ ...profile }, TypeId, { value: true })

export const isProfile = (value: unknown): value is Profile =>
  typeof value === "object" && value !== null && (value as { [TypeId]?: unknown })[TypeId] === true

/** What an operator costs that is not written down: nothing. */
export const free: OperatorProfile = Schema.decodeUnknownSync(OperatorProfile)({})

/** The profile of a node. */
export const of = (profile: Profile, node: Graph.Placed): OperatorProfile | undefined =>
  own(profile.operators, node.id) ?? own(profile.operators, node.operator.name)

const own = <A>(record: { readonly [name: string]: A }, name: string): A | undefined =>
  Object.hasOwn(record, name) ? record[name] : undefined

/** The first, completed by the second where it has nothing. */
export const orElse = (first: Profile, second: Profile): Profile =>
  branded({
    ...second,
    ...first,
    operators: { ...second.operators, ...first.operators },
    items: { ...second.items, ...first.items },
  })

/** The same profile with other numbers of items. */
export const withItems = (profile: Profile, items: Profile["items"]): Profile =>
  branded({ ...profile, items: { ...profile.items, ...items } })

/** The mean of the seconds of an item. */
export const meanSeconds = (seconds: Seconds): number => {
  if (typeof seconds === "number") return seconds
  if ("mean" in seconds) return seconds.mean
  const { quantiles } = seconds
  const inner = quantiles.reduce((sum, value) => sum + value, 0)
  return (inner - (quantiles[0]! + quantiles.at(-1)!) / 2) / (quantiles.length - 1)
}
