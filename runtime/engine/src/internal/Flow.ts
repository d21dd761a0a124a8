/** What travels between nodes while a run goes on. */
import type { Journal } from "@reelgraph/store"
import type * as Cause from "effect/Cause"
import * as Effect from "effect/Effect"
import * as Queue from "effect/Queue"

/**
 * A record on its way, known by its row id in the journal. The rest is there when somebody just made or read it, and
 * is read from the journal otherwise.
 */
export interface Item {
  readonly id: number
  digest?: string
  record?: string
}

/** Items waiting in front of one consumer. */
export type Inlet = Queue.Queue<Item, Cause.Done>

/** Items that may wait in front of a consumer: with `chunk`, what bounds a run's memory. */
export const capacity = 1024

/** Items that are looked up or committed at once, at most. */
export const chunk = 256

export const inlet = (items = capacity): Effect.Effect<Inlet> => Queue.bounded<Item, Cause.Done>(items)

/** Gives items to every consumer; waits while one of them is full. */
export const send = (outlets: ReadonlyArray<Inlet>, items: ReadonlyArray<Item>): Effect.Effect<void> =>
  items.length === 0
    ? Effect.void
    : Effect.forEach(outlets, (outlet) => Queue.offerAll(outlet, items), { discard: true })

export const end = (outlets: ReadonlyArray<Inlet>): Effect.Effect<void> =>
  Effect.forEach(outlets, (outlet) => Queue.end(outlet), { discard: true })

/**
 * Takes items in chunks until their producer has ended. `body` is called in the step that takes a chunk: what it
 * does before it returns an effect is done whenever the chunk was taken, interrupted or not.
 */
export const forEachChunk = <A, E, R>(
  source: Queue.Queue<A, Cause.Done>,
  size: () => { readonly min: number; readonly max: number },
  body: (items: ReadonlyArray<A>) => Effect.Effect<void, E, R>,
): Effect.Effect<void, E, R> =>
  Effect.catchIf(
    Effect.forever(
      Effect.flatMap(
        Effect.suspend(() => {
          const { max, min } = size()
          return Queue.takeBetween(source, min, max)
        }),
        body,
      ),
      { disableYield: true },
    ),
    (error): error is Cause.Done => isDone(error),
    () => Effect.void,
  )

const isDone = (error: unknown): error is Cause.Done =>
  typeof error === "object" && error !== null && "_tag" in error && error._tag === "Done"

/** Fills in the digest and the record of an item. */
export const load = (
  journal: typeof Journal.Service,
  item: Item,
): Item & { digest: string; record: string } => {
  if (item.digest === undefined || item.record === undefined) {
    const stored = journal.item(item.id)!
    item.digest = stored.digest
    item.record = stored.record
  }
  return item as Item & { digest: string; record: string }
}
