/**
 * What one task of a job does. Takes its assignments from the store, makes the calls of their shards in child processes,
 * and writes results back, also those of a shard that is not through, every few seconds: whatever ends a task, what it
 * had written counts. A task may have several slots, with processes and GPUs of their own: each makes one shard after
 * another.
 *
 * A task that is warned begins no further calls, signals those that go on (`stopping` of an operator's call), and waits
 * for them a while. What fails from then on is nobody's result: it is made again.
 *
 * The ranks of a gang are workers with the same assignments, which make the same calls one after the other. Rank 0 alone
 * writes anything. A call that fails in a way that may pass, or on another rank alone, ends the gang.
 */
import { Call } from "@reelgraph/call"
import type { LocalWorkers } from "@reelgraph/local"
import { defaultMaxObjectBytes, Objects } from "@reelgraph/store"
import * as Clock from "effect/Clock"
import * as Deferred from "effect/Deferred"
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import * as Schema from "effect/Schema"
import * as Semaphore from "effect/Semaphore"
import * as Stream from "effect/Stream"

import * as SessionObjects from "./SessionObjects.ts"
import * as Results from "./Results.ts"
import * as RunKey from "./RunKey.ts"

/** Results are written when the oldest of them is so old. */
const flushMs = 5000
/** Or when they have so many bytes, about. */
const flushBytes = 4 * 1024 * 1024
/** How often a worker that has nothing to do looks for its next assignment. */
const lookMs = 200
/** A rank whose call failed waits so long for the result of rank 0: two writes of results, and more. */
const rankPatienceMs = 10_000

/** A worker that cannot do what it is told, and has parsed so. */
export class WorkerRefused extends Schema.TaggedError<WorkerRefused>()("WorkerRefused", {
  reason: Schema.String,
}) {
  override get message() {
    return this.reason
  }
}

/** An assignment that is damaged, or that its driver has not written: the task ends, and others do its work. */
export class AssignmentRefused extends Schema.TaggedError<AssignmentRefused>()("AssignmentRefused", {
  name: Schema.String,
  problem: Schema.String,
}) {
  override get message() {
    return `assignment ${this.name} was refused: ${this.problem}`
  }
}

/** A call of a gang failed on one of its ranks: the gang ends, and the call is made again. */
export class RankFailed extends Schema.TaggedError<RankFailed>()("RankFailed", {
  rank: Schema.Int,
  shard: Schema.String,
  failure: Schema.String,
}) {
  override get message() {
    return `rank ${this.rank} failed at shard ${this.shard}, and ends the gang: ${this.failure}`
  }
}

/** What makes one shard after another. */
export interface Slot {
  /** Its devices, as in CUDA_VISIBLE_DEVICES; empty: none. */
  readonly gpus: string
  /** Its processes. */
  readonly workers: typeof LocalWorkers.LocalWorkers.Service
}

export interface Options {
  readonly session: string
  readonly label: string
  /** What it seals its objects with, and opens those of its driver. */
  readonly key: RunKey.RunKey
  /** With the devices of all slots. */
  readonly attempt: Results.Attempt
  /** Of a gang, one. */
  readonly slots: ReadonlyArray<Slot>
  /** Which worker of its gang it is, of how many. */
  readonly rank: number
  readonly ranks: number
  /** Version of this reelgraph. */
  readonly version: string
  /** Is done when the worker is about to be ended: it writes what it has, and leaves. */
  readonly warned: Deferred.Deferred<void>
  /** Milliseconds for which calls may go on from then. */
  readonly graceMs: number
}

const decodeAssignment = Schema.decodeUnknownEffect(Schema.fromJsonString(SessionObjects.Assignment))
const decodeShard = Schema.decodeUnknownEffect(Schema.fromJsonString(Call.Shard))
const text = (bytes: Uint8Array): string => Buffer.from(bytes).toString("utf8")

/** Writes an object with its seal. */
const put = (key: RunKey.RunKey, name: string, bytes: Uint8Array) =>
  Effect.flatMap(Objects, (objects) => objects.put(name, RunKey.seal(key, name, bytes)))

/** Works until there is nothing more to do, or it was warned. Gives why it leaves. */
export const work = Effect.fn("TaskWorker.work")(function* (options: Options) {
  const { attempt, label, rank, session, version, warned } = options
  const objects = yield* Objects
  const folder = SessionObjects.resultsFolder(session, label)
  const register = Effect.fnUntraced(function* (refused?: string) {
    const registration: Results.Registration = {
      ...attempt,
      version,
      clockMs: yield* Clock.currentTimeMillis,
      ...(refused === undefined ? {} : { refused }),
    }
    yield* put(
      options.key,
      `${folder}/${Results.registrationName(attempt)}`,
      Buffer.from(JSON.stringify(registration)),
    )
  })
  yield* Effect.logInfo(`${Results.placeOf(attempt, session)} begins`)
  if (rank === 0) yield* register()

  /** Slots at work, and since when there are so many. */
  let active = 0
  let sinceMs = yield* Clock.currentTimeMillis

  /** The Nth assignment: waits for it while there may be one. */
  const assignmentOf = Effect.fnUntraced(function* (turn: number, idleSeconds: number) {
    const name = SessionObjects.assignmentName(session, label, attempt.task, turn)
    while (true) {
      const refused = ({ message }: { readonly message: string }) =>
        new AssignmentRefused({ name, problem: message })
      const found = yield* Effect.catchTag(objects.get(name), "ObjectTooLarge", (error) =>
        Effect.fail(refused(error)),
      )
      if (Option.isSome(found))
        return yield* RunKey.open(options.key, name, found.value).pipe(
          Effect.flatMap((bytes) => decodeAssignment(text(bytes))),
          Effect.mapError(refused),
        )
      const idle = active === 0 && (yield* Clock.currentTimeMillis) - sinceMs >= idleSeconds * 1000
      if (idle || (yield* Deferred.isDone(warned))) return undefined
      yield* Effect.raceFirst(Effect.sleep(lookMs), Deferred.await(warned))
    }
  })

  const line: Array<Given> = []
  let turn = 0
  let idleSeconds = 60
  let last = false
  const turns = yield* Semaphore.make(1)
  /** The next shard, whichever slot asks; undefined: there is none for it any more. */
  const next = turns.withPermits(1)(
    Effect.gen(function* () {
      while (line.length === 0 && !last) {
        const assignment = yield* assignmentOf(turn, idleSeconds)
        if (assignment === undefined) return undefined
        if (assignment.format !== SessionObjects.format || assignment.version !== version) {
          const reason = `the driver is reelgraph ${assignment.version} (format ${assignment.format}), the worker on ${attempt.node} is ${version} (format ${SessionObjects.format}): install the same on both`
          if (rank === 0) yield* register(reason)
          return yield* new WorkerRefused({ reason })
        }
        const modules = new Set(assignment.modules)
        for (const shard of assignment.shards) line.push({ shard, perWorker: assignment.perWorker, modules })
        ;({ idleSeconds, last } = assignment)
        turn++
      }
      if (yield* Deferred.isDone(warned)) return undefined
      const given = line.shift()
      if (given !== undefined) active++
      return given
    }),
  )
  /** One slot after the other shard, until there is none, or it has to leave one. */
  const serve = (slot: Slot) =>
    Effect.gen(function* () {
      for (let given = yield* next; given !== undefined; given = yield* next) {
        const through = yield* Effect.ensuring(
          perform({ ...options, attempt: { ...attempt, gpus: slot.gpus } }, slot, given),
          Effect.map(Clock.currentTimeMillis, (now) => {
            active--
            sinceMs = now
          }),
        )
        if (!through) return false
      }
      return true
    }).pipe(Effect.annotateLogs(options.slots.length === 1 ? {} : { gpus: slot.gpus }))
  const through = yield* Effect.forEach(options.slots, serve, { concurrency: "unbounded" })
  if (last && line.length === 0 && through.every(Boolean)) return "through"
  return (yield* Deferred.isDone(warned)) ? "warned" : "idle"
})

/** A shard of an assignment. */
interface Given {
  readonly shard: string
  readonly perWorker: number
  readonly modules: ReadonlySet<string>
}

/** The shard as its driver wrote it, or why there is none to be made. */
const shardOf = Effect.fnUntraced(function* ({ key, session }: Options, { modules, shard: id }: Given) {
  const objects = yield* Objects
  const name = SessionObjects.shardName(session, id)
  const found = yield* objects.get(name)
  if (Option.isNone(found)) return "they were gone"
  const opened = yield* Effect.result(RunKey.open(key, name, found.value))
  if (opened._tag === "Failure") return opened.failure.problem
  const decoded = yield* Effect.result(decodeShard(text(opened.success)))
  if (decoded._tag === "Failure") return "they cannot be read"
  const shard = decoded.success
  return modules.has(shard.module) ? shard : `their module ${shard.module} is none of the driver's graph`
})

/** Makes the calls of one shard that no earlier attempt of this task has results of. Gives whether it is through. */
const perform = Effect.fnUntraced(function* (options: Options, slot: Slot, given: Given) {
  const { attempt, graceMs, key, label, rank, ranks, session, warned } = options
  const { perWorker, shard: id } = given
  const folder = SessionObjects.resultsFolder(session, label)
  const decoded = yield* shardOf(options, given).pipe(
    Effect.catchTag("ObjectTooLarge", () => Effect.succeed("they are larger than any that a driver writes")),
  )
  if (typeof decoded === "string") {
    // Taken back by the driver, or lost: the driver knows which, and has it made again if somebody waits for it.
    yield* Effect.logWarning(`nothing is made of shard ${id}: ${decoded}`)
    const head = { ...attempt, shard: id, part: 0, whole: true, refused: decoded }
    if (rank === 0) yield* put(key, `${folder}/${Results.partName(head)}`, Results.encode(head, []))
    return true
  }
  // Ranks cannot be told of another attempt of one of them.
  const shard = ranks === 1 ? decoded : { ...decoded, retries: 0 }
  const concurrency = ranks === 1 ? perWorker : 1
  const skip = new Set<number>()
  if (attempt.restart > 0)
    for (const { head, results } of yield* partsOf(key, folder, id, attempt))
      if (head.restart < attempt.restart) for (const { at } of results) skip.add(at)
  yield* Effect.logInfo(
    `shard ${id}: ${shard.items.length} items of ${shard.node} (${shard.operator}@${shard.version})${skip.size === 0 ? "" : `, ${skip.size} of them done before`}`,
  )
  let part = 0
  let held: Array<Call.Result> = []
  let heldBytes = 0
  let failures = 0
  let left = 0
  const write = (whole: boolean) =>
    Effect.suspend(() => {
      const results = held
      held = []
      heldBytes = 0
      const name = Results.partName({ ...attempt, shard: id, part })
      const written = Results.encode({ ...attempt, shard: id, part: part++, whole }, bounded(shard, results))
      // What is no longer held must get there.
      return Effect.uninterruptible(put(key, `${folder}/${name}`, written))
    })
  const flush = Effect.suspend(() => (held.length === 0 ? Effect.void : write(false)))
  const flusher = Effect.forever(Effect.andThen(Effect.sleep(flushMs), flush))
  const patience = Deferred.await(warned).pipe(Effect.andThen(flush), Effect.andThen(Effect.sleep(graceMs)))
  const take = (result: Call.Result) =>
    Effect.gen(function* () {
      const { at, what } = result
      if (what._tag === "Failed") {
        const failure = `item ${shard.items[at]?.digest.slice(0, 12)}: ${what.tag}: ${what.message}`
        if (Deferred.isDoneUnsafe(warned)) {
          left++
          return yield* Effect.logInfo(`left: ${failure}`)
        }
        failures++
        yield* Effect.logWarning(failure)
        if (rank === 0 ? ranks > 1 && what.retryable : !(yield* hasResult(options, id, at))) {
          yield* flush
          return yield* new RankFailed({ rank, shard: id, failure })
        }
      }
      if (rank > 0) return
      held.push(result)
      heldBytes += bytesOf(result)
      if (heldBytes >= flushBytes || Deferred.isDoneUnsafe(warned)) yield* write(false)
    })
  const calls = Stream.runForEach(
    slot.workers.perform(shard, { concurrency, skip, priority: 0, report: () => {} }),
    take,
  )
  const ended = yield* Effect.raceFirst(
    Effect.raceFirst(Effect.as(calls, true), flusher),
    Effect.as(patience, false),
  )
  const through = ended && left === 0
  // Nothing is reported twice: a shard whose results are all there is no longer known to the driver.
  if (held.length > 0) yield* write(through)
  yield* Effect.logInfo(
    through
      ? `shard ${id} is through${failures === 0 ? "" : `, ${failures} items failed`}`
      : `shard ${id} is left: the worker was warned`,
  )
  return through
})

const bytesOf = ({ what }: Call.Result): number => {
  const recordBytes = ({
    artifacts,
    record,
  }: {
    readonly artifacts: ReadonlyArray<string>
    readonly record: string
  }) => 100 + Buffer.byteLength(record) + 70 * artifacts.length
  if (what._tag === "Made") return 200 + what.items.reduce((sum, item) => sum + recordBytes(item), 0)
  if (what._tag === "Collected")
    return what.emissions.reduce(
      (sum, each) => sum + 100 + (each._tag === "Emit" ? recordBytes(each.record) + 8 * each.from.length : 0),
      200,
    )
  return 200
}

/** Bytes of one result, at most: its driver reads no larger object, of which others may be a part. */
const resultBytesAtMost = defaultMaxObjectBytes - 2 * flushBytes

/** A result that no driver could read is replaced by a failure with the reason. */
const bounded = (shard: Call.Shard, results: ReadonlyArray<Call.Result>): ReadonlyArray<Call.Result> =>
  results.map((result) => {
    if (bytesOf(result) <= flushBytes) return result
    const bytes = Buffer.byteLength(JSON.stringify(result))
    if (bytes <= resultBytesAtMost) return result
    const failure = {
      tag: "ResultTooLarge",
      message: `${shard.node} gave records of ${bytes} bytes, more than the ${resultBytesAtMost} that a call on a cluster may give: place it in a pool of this machine, or put what is large into artifacts`,
      retryable: false,
    }
    return { ...result, ...Call.failed(result.at, failure, result.startedMs), ms: result.ms }
  })

/** What attempts of this task have written of a shard. */
const partsOf = Effect.fnUntraced(function* (
  key: RunKey.RunKey,
  folder: string,
  id: string,
  { task }: Results.Attempt,
) {
  const objects = yield* Objects
  const parts: Array<Effect.Success<ReturnType<typeof Results.decode>>> = []
  const names = yield* Stream.runCollect(objects.list(folder))
  for (const name of names) {
    const parsed = Results.parseName(name.slice(folder.length + 1))
    if (parsed?._tag !== "Part" || parsed.shard !== id || parsed.task !== task) continue
    // A part that is damaged, or nobody's of this run, is as none: its calls are made again.
    const part = yield* objects.get(name).pipe(
      Effect.flatMap(Effect.fromOption),
      Effect.flatMap((sealed) => RunKey.open(key, name, sealed)),
      Effect.flatMap((bytes) => Results.decode(name, bytes)),
      Effect.option,
    )
    if (Option.isSome(part)) parts.push(part.value)
  }
  return parts
})

/** Whether rank 0 has a result where this rank has none: waits for it. A shard that is gone has all of its results. */
const hasResult = Effect.fnUntraced(function* (
  { attempt, key, label, session }: Options,
  id: string,
  at: number,
) {
  const objects = yield* Objects
  const until = (yield* Clock.currentTimeMillis) + rankPatienceMs
  while ((yield* Clock.currentTimeMillis) < until) {
    const parts = yield* partsOf(key, SessionObjects.resultsFolder(session, label), id, attempt)
    if (
      parts.some(
        ({ head, results }) => head.restart === attempt.restart && results.some((one) => one.at === at),
      )
    )
      return true
    if (Option.isNone(yield* objects.get(SessionObjects.shardName(session, id)))) return true
    yield* Effect.sleep(lookMs)
  }
  return false
})
