/** Side inputs: gathered before a node begins, and part of what its operator is bound to. */
import { Binding, Invoke, RecordCodec } from "@reelgraph/call"
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"

import { RecordInvalid, SideCount } from "../RunError.ts"
import { othersOf } from "./cached.ts"
import * as Flow from "./Flow.ts"
import { type Bound, eager, type NodeContext, type NodeError, type Spool, spoolItems } from "./NodeContext.ts"

/** A side input: the decoded records that `run` sees, their JSON for workers, and what the cache key needs. */
export interface SideInput extends Binding.SideItem {
  readonly value: unknown
  readonly json: string | ReadonlyArray<string>
}

/**
 * Waits for the side inputs. Meanwhile the main input is spooled, so that a producer which feeds both is never held
 * up by an edge that nobody reads.
 */
export const gatherSides = (
  context: NodeContext,
  inlet: Flow.Inlet,
  sides: { readonly [side: string]: Flow.Inlet },
  spool: Spool,
) =>
  Effect.gen(function* () {
    const names = Object.keys(sides)
    if (names.length === 0) return {}
    const pump = yield* Effect.forkChild(Flow.forEachChunk(inlet, eager, (items) => spoolItems(spool, items)))
    const gathered: { [side: string]: SideInput } = {}
    yield* Effect.forEach(
      names,
      (side) =>
        Effect.gen(function* () {
          const ids: Spool = []
          yield* Flow.forEachChunk(sides[side]!, eager, (chunk) => spoolItems(ids, chunk))
          gathered[side] = yield* sideInput(context, side, ids)
        }),
      { concurrency: "unbounded", discard: true },
    )
    yield* Fiber.interrupt(pump)
    return gathered
  })

const sideInput = (
  context: NodeContext,
  side: string,
  ids: ReadonlyArray<number>,
): Effect.Effect<SideInput, NodeError> =>
  Effect.gen(function* () {
    const { journal, node } = context
    const { mode, port } = node.operator.sides[side]!
    const codec = RecordCodec.of(port.record)
    const decode = (record: string, position: number) =>
      Effect.try({
        try: () => codec.decode(record),
        catch: (cause) =>
          new RecordInvalid({
            input: `${node.id}.${side}`,
            position,
            problem: cause instanceof Error ? cause.message : String(cause),
          }),
      })
    const loaded = ids
      .map((id) => journal.item(id)!)
      .sort((a, b) => (a.digest < b.digest ? -1 : a.digest > b.digest ? 1 : 0))
    const [first] = loaded
    if (mode === "one") {
      if (first === undefined || loaded.length > 1) {
        return yield* new SideCount({ node: node.id, side, from: node.sides[side]!, got: loaded.length })
      }
      const value = yield* decode(first.record, 0)
      return { id: first.id, digest: first.digest, value, json: first.record }
    }
    const set = yield* journal.set(
      Binding.setDigest(loaded.map(({ digest }) => digest)),
      loaded.map(({ id }) => id),
    )
    return {
      id: set.id,
      digest: set.digest,
      value: yield* Effect.forEach(loaded, ({ record }, i) => decode(record, i)),
      json: loaded.map(({ record }) => record),
    }
  })

/**
 * What calls share, none of them may change: another would see it. Plain data is frozen, and anything else, such as a
 * `Date` or a `Map`, which cannot be, is read anew for each call.
 */
const perCall = <A>(
  codec: RecordCodec.RecordCodec,
  json: ReadonlyArray<string>,
  of: (values: ReadonlyArray<unknown>) => A,
): (() => A) => {
  const make = () => of(json.map((one) => codec.decode(one)))
  if (!codec.plain) return make
  const shared = Invoke.frozen(make())
  return () => shared
}

const sidesOf = (
  node: NodeContext["node"],
  sides: { readonly [side: string]: SideInput },
): Bound["sides"] => {
  const each = Object.entries(sides).map(([side, { json }]) => {
    const codec = RecordCodec.of(node.operator.sides[side]!.port.record)
    const value =
      typeof json === "string" ? perCall(codec, [json], ([one]) => one) : perCall(codec, json, (all) => all)
    return [side, value] as const
  })
  return () => Object.fromEntries(each.map(([side, value]) => [side, value()]))
}

/** Gives a node's operator, with its side inputs, its row in the journal. */
export const bind = (
  context: NodeContext,
  sides: { readonly [side: string]: SideInput },
): Effect.Effect<Bound, NodeError> => {
  const { node } = context
  const code = context.code.get(node.operator)!
  const row = Binding.row(node, code, context.seed, sides)
  return Effect.map(context.journal.operator(row), (operator) => ({
    operator,
    digest: row.digest,
    code,
    others: othersOf(context, sides),
    params: perCall(RecordCodec.of(node.operator.params), [JSON.stringify(node.params)], ([value]) => value),
    sides: sidesOf(node, sides),
    sideJson: Object.fromEntries(Object.entries(sides).map(([side, { json }]) => [side, json])),
  }))
}
