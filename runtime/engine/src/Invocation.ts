/**
 * One call of an operator: from decoded records to what the journal keeps. The same code runs on the main
 * thread and in workers.
 */
import { CounterRandom, type Digest, Drop, keep, type Operator, Progress, Secrets } from "@reelgraph/core"
import type { NewItem } from "@reelgraph/store"
import * as Effect from "effect/Effect"

import { InputInvalid, OutputInvalid } from "./Failure.ts"
import * as RecordCodec from "./RecordCodec.ts"

/** What came of one item. `values` are the decoded records, when the call ran in this process. */
export type Outcome =
  | { readonly _tag: "Kept" }
  | { readonly _tag: "Dropped"; readonly reason: string; readonly detail: string }
  | {
      readonly _tag: "Made"
      readonly items: ReadonlyArray<NewItem>
      readonly values?: ReadonlyArray<unknown>
    }
  | { readonly _tag: "Collected"; readonly emissions: ReadonlyArray<Emitted> }

/** An emission of `collect` as plain data. */
export type Emitted =
  | { readonly _tag: "Emit"; readonly record: NewItem; readonly from: ReadonlyArray<number> }
  | { readonly _tag: "Pass"; readonly at: number }
  | { readonly _tag: "Drop"; readonly at: number; readonly reason: string; readonly detail: string }

/** The records of an operator's input from their JSON. */
export const decode = (
  node: string,
  operator: Operator.Any,
  records: ReadonlyArray<string>,
): Effect.Effect<ReadonlyArray<unknown>, InputInvalid> =>
  Effect.try({
    try: () => {
      const codec = RecordCodec.of(operator.input.record)
      return records.map((record) => codec.decode(record))
    },
    catch: (cause) =>
      new InputInvalid({ node, problem: cause instanceof Error ? cause.message : String(cause) }),
  })

const kept: Outcome = { _tag: "Kept" }
/** Details are recorded and shown: without the secrets of URLs. */
const dropped = ({ detail, reason }: Drop): Outcome => ({
  _tag: "Dropped",
  reason,
  detail: Secrets.masked(detail),
})

/**
 * Runs an operator on records: one for most, several for `batch` and `collect`. Gives one outcome for each record,
 * and a single one for `collect`.
 */
export const invoke = (
  node: string,
  operator: Operator.Any,
  params: unknown,
  records: ReadonlyArray<unknown>,
  call: Operator.Call<unknown>,
): Effect.Effect<ReadonlyArray<Outcome>, unknown, any> => {
  const several = operator.cardinality === "batch" || operator.cardinality === "collect"
  const result = Effect.scoped(
    Effect.suspend(() => operator.run(several ? records : records[0], params, call)),
  )
  return Effect.matchEffect(result, {
    onFailure: (error) =>
      error instanceof Drop ? Effect.succeed(records.map(() => dropped(error))) : Effect.fail(error),
    onSuccess: (value) =>
      Effect.try({
        try: () => outcomes(node, operator, value, records.length),
        catch: (cause) =>
          cause instanceof OutputInvalid
            ? cause
            : new OutputInvalid({ node, problem: cause instanceof Error ? cause.message : String(cause) }),
      }),
  })
}

const outcomes = (node: string, operator: Operator.Any, value: any, size: number): ReadonlyArray<Outcome> => {
  const codec = operator.output === undefined ? undefined : RecordCodec.of(operator.output.record)
  const made = (values: ReadonlyArray<unknown>): Outcome => ({
    _tag: "Made",
    items: values.map((one) => codec!.encode(one)),
    values,
  })
  switch (operator.cardinality) {
    case "map":
      return [made([value])]
    case "filter":
      if (value === keep) return [kept]
      if (value instanceof Drop) return [dropped(value)]
      throw new OutputInvalid({
        node,
        problem: `a filter gives keep or drop(reason), this one gave ${String(value)}`,
      })
    case "flatMap":
      return [made(value)]
    case "batch":
      if (!Array.isArray(value) || value.length !== size) {
        throw new OutputInvalid({
          node,
          problem: `a batch of ${size} gives ${size} results, this one gave ${Array.isArray(value) ? value.length : String(value)}`,
        })
      }
      return value.map((one) => (one instanceof Drop ? dropped(one) : made([one])))
    case "collect":
      return [
        {
          _tag: "Collected",
          emissions: (value as ReadonlyArray<Operator.Emission<unknown>>).map((emission): Emitted => {
            checkPositions(node, emission, size)
            if (emission._tag === "Emit") return { ...emission, record: codec!.encode(emission.record) }
            if (emission._tag === "Pass") return emission
            const { at, drop } = emission
            return { _tag: "Drop", at, reason: drop.reason, detail: Secrets.masked(drop.detail) }
          }),
        },
      ]
  }
}

/** A turn of the event loop, in which messages of other processes come in. */
const turn = Effect.callback<void>((resume) => void setImmediate(() => resume(Effect.void)))

const noKey: CounterRandom.Key = { k0: 0, k1: 0 }

/** What a call is made from. */
export interface CallFacts {
  readonly operator: string
  /** The digests of the records (of their set, for `collect`). */
  readonly items: () => ReadonlyArray<string>
  readonly key: () => string
  /** Absent: nothing is random. */
  readonly seed: number | undefined
  readonly attempt: number
  readonly sides: unknown
  /** Takes what the call reports of its progress. */
  readonly report: (progress: Progress.Progress) => void
  /** Whether this process was told that calls are to come to an end. @default never */
  readonly stopping?: () => boolean
}

/** What an operator sees of its call. Digests are only read when asked for. */
export class Call implements Operator.Call<unknown> {
  readonly attempt: number
  readonly sides: unknown
  readonly progress: (report: Progress.Progress) => Effect.Effect<void>
  readonly stopping: Effect.Effect<boolean>
  readonly #facts: CallFacts

  constructor(facts: CallFacts) {
    this.#facts = facts
    this.attempt = facts.attempt
    this.sides = facts.sides
    this.progress = (report) => Effect.sync(() => facts.report(Progress.plain(report)))
    const { stopping } = facts
    this.stopping =
      stopping === undefined ? Effect.succeed(false) : Effect.andThen(turn, Effect.sync(stopping))
  }
  get item(): Digest.Digest {
    return this.#facts.items()[0]! as Digest.Digest
  }
  get key(): Digest.Digest {
    return this.#facts.key() as Digest.Digest
  }
  get random(): CounterRandom.Key {
    return this.#drawn(this.item)
  }
  get randoms(): ReadonlyArray<CounterRandom.Key> {
    return this.#facts.items().map((item) => this.#drawn(item))
  }
  #drawn(item: string): CounterRandom.Key {
    const { operator, seed } = this.#facts
    return seed === undefined ? noKey : CounterRandom.key(seed, item, operator)
  }
}

const checkPositions = (node: string, emission: Operator.Emission<unknown>, size: number): void => {
  for (const at of emission._tag === "Emit" ? emission.from : [emission.at]) {
    if (!Number.isInteger(at) || at < 0 || at >= size) {
      throw new OutputInvalid({ node, problem: `it refers to input ${at} of ${size}` })
    }
  }
}

/** What a worker needs to make a call: plain data that can be sent to another process. */
export interface Job {
  readonly node: string
  /** URL of the module that exports the operator. */
  readonly module: string
  readonly operator: string
  readonly version: string
  /** Canonical JSON. */
  readonly params: string
  /** Canonical JSON of the records. */
  readonly records: ReadonlyArray<string>
  /** Canonical JSON of the records of the side inputs; an array for `all`. */
  readonly sides: { readonly [side: string]: string | ReadonlyArray<string> }
  /** Digests of the records; for `collect`, of their set. */
  readonly items: ReadonlyArray<string>
  /** What the work of this call is known by, in every attempt and every run. */
  readonly key: string
  /** The seed of the run, for operators that draw random numbers. */
  readonly seed: number | undefined
  readonly attempt: number
  /** Milliseconds after which the worker is killed, counted from when the operator begins. */
  readonly timeoutMs: number | undefined
}
