/**
 * A worker: what one task of a job does. Takes its orders from the store, makes the calls of their shards in child
 * processes, and writes results back, also those of a shard that is not through, every few seconds: whatever ends a
 * worker, what it had written counts.
 */
import { Shard } from "@reelgraph/engine"
import { Objects } from "@reelgraph/store"
import * as Clock from "effect/Clock"
import * as Deferred from "effect/Deferred"
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import * as Schema from "effect/Schema"
import * as Stream from "effect/Stream"

import * as Order from "./Order.ts"
import * as Results from "./Results.ts"

/** Results are written when the oldest of them is so old. */
const flushMs = 5000
/** Or when they have so many bytes, about. */
const flushBytes = 4 * 1024 * 1024
/** How often a worker that has nothing to do looks for its next order. */
const lookMs = 200

/** A worker that cannot do what it is told, and has said so. */
export class WorkerRefused extends Schema.TaggedError<WorkerRefused>()("WorkerRefused", {
  reason: Schema.String,
}) {
  override get message() {
    return this.reason
  }
}

export interface Options {
  readonly session: string
  readonly label: string
  readonly attempt: Results.Attempt
  /** Version of this reelgraph. */
  readonly version: string
  /** Is done when the worker is about to be ended: it writes what it has, and leaves. */
  readonly warned: Deferred.Deferred<void>
}

const decodeOrder = Schema.decodeUnknownEffect(Schema.fromJsonString(Order.Order))
const decodeShard = Schema.decodeUnknownEffect(Schema.fromJsonString(Shard.Shard))
const text = (bytes: Uint8Array): string => Buffer.from(bytes).toString("utf8")

/** Works until there is nothing more to do, or it was warned. Gives why it leaves. */
export const work = Effect.fn("Worker.work")(function* ({
  attempt,
  label,
  session,
  version,
  warned,
}: Options) {
  const objects = yield* Objects
  const folder = Order.resultsFolder(session, label)
  const hello = Effect.fnUntraced(function* (refused?: string) {
    const said: Results.Hello = {
      ...attempt,
      version,
      clockMs: yield* Clock.currentTimeMillis,
      ...(refused === undefined ? {} : { refused }),
    }
    yield* objects.put(`${folder}/${Results.helloName(attempt)}`, Buffer.from(JSON.stringify(said)))
  })
  yield* Effect.logInfo(`${Results.placeOf(attempt, session)} begins`)
  yield* hello()

  /** The Nth order: waits for it while there may be one. */
  const orderOf = Effect.fnUntraced(function* (turn: number, idleSeconds: number) {
    const name = Order.orderName(session, label, attempt.task, turn)
    const until = (yield* Clock.currentTimeMillis) + idleSeconds * 1000
    while (true) {
      const found = yield* objects.get(name)
      if (Option.isSome(found)) return yield* decodeOrder(text(found.value))
      if ((yield* Clock.currentTimeMillis) >= until || (yield* Deferred.isDone(warned))) return undefined
      yield* Effect.raceFirst(Effect.sleep(lookMs), Deferred.await(warned))
    }
  })

  let turn = 0
  let idleSeconds = 60
  while (true) {
    const order = yield* orderOf(turn, idleSeconds)
    if (order === undefined) return (yield* Deferred.isDone(warned)) ? "warned" : "idle"
    if (order.format !== Order.format || order.version !== version) {
      const reason = `the driver is reelgraph ${order.version} (format ${order.format}), the worker on ${attempt.node} is ${version} (format ${Order.format}): install the same on both`
      yield* hello(reason)
      return yield* new WorkerRefused({ reason })
    }
    for (const shard of order.shards) {
      if (yield* Deferred.isDone(warned)) return "warned"
      yield* perform(session, label, shard, attempt, order.perWorker, warned)
    }
    if (order.last) return "through"
    idleSeconds = order.idleSeconds
    turn++
  }
})

/** Makes the calls of one shard that no attempt of this task has results of. */
const perform = Effect.fnUntraced(function* (
  session: string,
  label: string,
  id: string,
  attempt: Results.Attempt,
  perWorker: number,
  warned: Deferred.Deferred<void>,
) {
  const objects = yield* Objects
  const folder = Order.resultsFolder(session, label)
  const bytes = Option.getOrUndefined(yield* objects.get(Order.shardName(session, id)))
  if (bytes === undefined)
    return yield* Effect.logInfo(`shard ${id} is no longer wanted: the driver has taken it back`)
  const shard = yield* decodeShard(text(bytes))
  const skip = attempt.restart === 0 ? new Set<number>() : yield* there(folder, id, attempt)
  yield* Effect.logInfo(
    `shard ${id}: ${shard.items.length} items of ${shard.node} (${shard.operator}@${shard.version})${skip.size === 0 ? "" : `, ${skip.size} of them done before`}`,
  )
  let part = 0
  let held: Array<Shard.Result> = []
  let heldBytes = 0
  let failures = 0
  const write = (whole: boolean) =>
    Effect.suspend(() => {
      const results = held
      held = []
      heldBytes = 0
      const name = Results.partName({ ...attempt, shard: id, part })
      const written = Results.encode({ ...attempt, shard: id, part: part++, whole }, results)
      // What is no longer held must get there.
      return Effect.uninterruptible(objects.put(`${folder}/${name}`, written))
    })
  const flusher = Effect.forever(
    Effect.andThen(
      Effect.sleep(flushMs),
      Effect.suspend(() => (held.length === 0 ? Effect.void : write(false))),
    ),
  )
  const calls = Stream.runForEach(Shard.perform(shard, { concurrency: perWorker, skip }), (result) =>
    Effect.suspend(() => {
      held.push(result)
      heldBytes += bytesOf(result)
      const failure =
        result.what._tag === "Failed"
          ? Effect.logWarning(
              `item ${shard.items[result.at]?.digest.slice(0, 12)}: ${result.what.tag}: ${result.what.message}`,
            )
          : Effect.void
      if (result.what._tag === "Failed") failures++
      return heldBytes < flushBytes ? failure : Effect.andThen(failure, write(false))
    }),
  )
  const through = yield* Effect.raceFirst(
    Effect.raceFirst(Effect.as(calls, true), flusher),
    Effect.as(Deferred.await(warned), false),
  )
  yield* write(through)
  yield* Effect.logInfo(
    through
      ? `shard ${id} is through${failures === 0 ? "" : `, ${failures} items failed`}`
      : `shard ${id} is left: the worker was warned`,
  )
})

const bytesOf = ({ what }: Shard.Result): number =>
  200 + (what._tag === "Made" ? what.items.reduce((sum, { record }) => sum + record.length, 0) : 0)

/** Positions of a shard that earlier attempts at this task have results of. */
const there = Effect.fnUntraced(function* (folder: string, id: string, attempt: Results.Attempt) {
  const objects = yield* Objects
  const positions = new Set<number>()
  const names = yield* Stream.runCollect(objects.list(folder))
  for (const name of names) {
    const said = Results.parseName(name.slice(folder.length + 1))
    if (said?._tag !== "Part" || said.shard !== id || said.task !== attempt.task) continue
    const bytes = Option.getOrUndefined(yield* objects.get(name))
    if (bytes === undefined) continue
    // A damaged part is as none: its calls are made again.
    const part = yield* Effect.option(Results.decode(name, bytes))
    if (Option.isSome(part)) for (const { at } of part.value.results) positions.add(at)
  }
  return positions
})
