/**
 * One attempt at one call: from records to what the journal keeps. The same code runs in the process of the engine and
 * in workers.
 */
import { CounterRandom, type Digest, Drop, keep, type Operator, Progress, Secrets } from "@reelgraph/core"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"

import type { Emitted, Outcome } from "./Call.ts"
import { InputInvalid, NotAnEffect, OutputInvalid } from "./Failure.ts"
import * as RecordCodec from "./RecordCodec.ts"

const problemOf = (cause: unknown): string => (cause instanceof Error ? cause.message : String(cause))

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
    catch: (cause) => new InputInvalid({ node, problem: problemOf(cause) }),
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
  return Effect.suspend(() => {
    const given: unknown = operator.run(several ? records : records[0], params, call)
    if (!Effect.isEffect(given)) {
      // A Promise that nobody waits for would end the process when it rejects.
      if (isThenable(given)) given.then(undefined, () => {})
      return Effect.fail(new NotAnEffect({ node, given: kindOf(given) }))
    }
    const settle = (exit: Exit.Exit<unknown, unknown>) => outcomesOf(node, operator, records.length, exit)
    // What is there already needs no scope.
    return Exit.isExit(given)
      ? settle(given)
      : Effect.flatMap(Effect.exit(Effect.scoped(given as Effect.Effect<unknown, unknown, any>)), settle)
  })
}

/** What came of the effect that `run` gave: outcomes of its records, or its failure. */
const outcomesOf = (
  node: string,
  operator: Operator.Any,
  size: number,
  exit: Exit.Exit<unknown, unknown>,
): Exit.Exit<ReadonlyArray<Outcome>, unknown> => {
  if (Exit.isSuccess(exit)) {
    try {
      return Exit.succeed(outcomes(node, operator, exit.value, size))
    } catch (cause) {
      return Exit.fail(
        cause instanceof OutputInvalid ? cause : new OutputInvalid({ node, problem: problemOf(cause) }),
      )
    }
  }
  const [reason] = exit.cause.reasons
  return reason?._tag === "Fail" && reason.error instanceof Drop
    ? Exit.succeed(Array<Outcome>(size).fill(dropped(reason.error)))
    : Exit.failCause(exit.cause)
}

const isThenable = (value: unknown): value is PromiseLike<unknown> =>
  typeof (value as { readonly then?: unknown } | null | undefined)?.then === "function"

/** What a value is, in a word or two: `a Promise`, `undefined`, `an array`. */
const kindOf = (value: unknown): string => {
  if (value === undefined || value === null) return "nothing"
  if (isThenable(value)) return "a Promise"
  if (Array.isArray(value)) return "an array"
  return typeof value === "object" ? "an object" : `a ${typeof value}`
}

const outcomes = (node: string, operator: Operator.Any, value: any, size: number): ReadonlyArray<Outcome> => {
  const codec = operator.output === undefined ? undefined : RecordCodec.of(operator.output.record)
  const made = (values: ReadonlyArray<unknown>): Outcome => ({
    _tag: "Made",
    items: values.map((one) => codec!.encode(one)),
  })
  const arrayOf = (what: string): ReadonlyArray<unknown> => {
    if (Array.isArray(value)) return value
    throw new OutputInvalid({ node, problem: `${what} gives an array, this one gave ${kindOf(value)}` })
  }
  switch (operator.cardinality) {
    case "map":
      return [made([value])]
    case "filter":
      if (value === keep) return [kept]
      if (value instanceof Drop) return [dropped(value)]
      throw new OutputInvalid({
        node,
        problem: `a filter gives keep or drop(reason), this one gave ${kindOf(value)}`,
      })
    case "flatMap":
      return [made(arrayOf("a flatMap"))]
    case "batch": {
      const results = arrayOf("a batch")
      if (results.length !== size)
        throw new OutputInvalid({
          node,
          problem: `a batch of ${size} gives ${size} results, this one gave ${results.length}`,
        })
      return results.map((one) => (one instanceof Drop ? dropped(one) : made([one])))
    }
    case "collect":
      return [
        {
          _tag: "Collected",
          emissions: arrayOf("a collect").map((given): Emitted => {
            const emission = given as Operator.Emission<unknown>
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

/** What an operator's view of its call is made from. */
export interface ViewFacts {
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
export class View implements Operator.Call<unknown> {
  readonly attempt: number
  readonly sides: unknown
  readonly progress: (report: Progress.Progress) => Effect.Effect<void>
  readonly stopping: Effect.Effect<boolean>
  readonly #facts: ViewFacts

  constructor(facts: ViewFacts) {
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

/**
 * Makes a value that calls share unchangeable, with all it holds: what one call did to it, another would see. Typed
 * arrays cannot be, and are left as they are.
 */
export const frozen = <A>(value: A): A => {
  const queue: Array<unknown> = [value]
  while (queue.length > 0) {
    const next = queue.pop()
    if (typeof next !== "object" || next === null || Object.isFrozen(next) || ArrayBuffer.isView(next))
      continue
    Object.freeze(next)
    for (const inner of Object.values(next)) queue.push(inner)
  }
  return value
}

const checkPositions = (node: string, emission: Operator.Emission<unknown>, size: number): void => {
  const positions = emission._tag === "Emit" ? emission.from : [emission.at]
  for (const at of positions) {
    if (!Number.isInteger(at) || at < 0 || at >= size) {
      throw new OutputInvalid({ node, problem: `it refers to input ${at} of ${size}` })
    }
  }
}
