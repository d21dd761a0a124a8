/**
 * A journal that many machines share through the objects of one store: each works on a file of its own, exports
 * what it wrote as segments, and imports those of others.
 *
 * The file is where a row is safe first; a segment is a copy for others. So an export that fails delays what others
 * see and never fails a run: it is tried again, at the latest when the file is opened next. When the file is lost,
 * a new one is made of all segments.
 */
import fs from "node:fs"

import { ThreadClient, type ThreadLost } from "@reelgraph/threads"
import * as Cause from "effect/Cause"
import * as Clock from "effect/Clock"
import * as Context from "effect/Context"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Option from "effect/Option"
import type * as Scope from "effect/Scope"
import * as Semaphore from "effect/Semaphore"
import * as Stream from "effect/Stream"

import type { PutError, StoreUnreadable } from "../blobs/BlobStore.ts"
import * as Reading from "../internal/journal/readOnly.ts"
import type { Failure, Request, Response } from "../internal/journal/segmentThread.ts"
import { Journal, JournalError, type JournalNewer } from "./Journal.ts"
import * as Segment from "./JournalSegment.ts"
import * as JournalSqlite from "./JournalSqlite.ts"
import { Objects } from "../Objects.ts"

export interface Options {
  /** See `JournalSqlite.layer`. @default "full" */
  readonly durability?: "full" | "normal"
  /** Pause between exports while the journal is open. @default 30 seconds */
  readonly every?: Duration.Input
  /** How long the export at the end may take; what it does not reach is exported when the file is opened next. @default 1 minute */
  readonly closeWithin?: Duration.Input
  /** Characters of text to a segment, about. @default 16 Mi */
  readonly segmentSize?: number
  /** The store as a person names it, for messages. @default it is not named */
  readonly store?: string
  /** Takes a sentence about a problem that does not stop the work: a segment that cannot be trusted, a store that does not answer. @default a warning in the log */
  readonly warn?: (sentence: string) => Effect.Effect<void>
}

/** Why a segment is not imported. */
export type Refusal = Segment.SegmentDamaged | Segment.SegmentNewer

/** What an exchange with the store has done. */
export interface Synced {
  /** Segments. */
  readonly exported: number
  readonly imported: number
  /** Segments that cannot be read; nothing of them was imported. */
  readonly refused: ReadonlyArray<Refusal>
}

export class JournalShared extends Context.Service<
  JournalShared,
  {
    /** Exports what is new here, then imports what is new in the store. */
    readonly sync: Effect.Effect<Synced, PutError | StoreUnreadable | JournalError>
  }
>()("reelgraph/store/JournalShared") {}

type ThreadError = Refusal | JournalError
type Ask = <R extends Request>(request: R) => Effect.Effect<Response[R["_tag"]], ThreadError>

const errorOf = (file: string, cause: Failure | ThreadLost): ThreadError => {
  switch (cause._tag) {
    case "SegmentDamaged":
      return new Segment.SegmentDamaged(cause)
    case "SegmentNewer":
      return new Segment.SegmentNewer(cause)
    case "ThreadLost":
      return new JournalError({ file, action: "shared", problem: cause.message })
    case "Other":
      return new JournalError({ file, action: "shared", problem: cause.problem })
  }
}

/** A thread that writes and reads segments. */
const thread = (file: string): Effect.Effect<Ask, never, Scope.Scope> =>
  Effect.map(
    ThreadClient.scoped<Request, Response, Failure, ThreadError>({
      name: "the journal's segments",
      module: new URL("../internal/journal/segmentThread.ts", import.meta.url),
      data: { file },
      resourceLimits: { maxYoungGenerationSizeMb: 8 },
      errorOf: (cause) => errorOf(file, cause),
    }),
    (client) => (request) => client.ask(request),
  )

/** The same with the store that it is about. */
const named = (error: Refusal, store: string | undefined): Refusal => {
  if (store === undefined) return error
  return error._tag === "SegmentDamaged"
    ? new Segment.SegmentDamaged({ segment: error.segment, problem: error.problem, store })
    : new Segment.SegmentNewer({
        segment: error.segment,
        found: error.found,
        supported: error.supported,
        store,
      })
}

/** Exports all that is new; the number of segments. */
const exporting = (objects: typeof Objects.Service, ask: Ask, size: number | undefined) =>
  Effect.gen(function* () {
    for (let count = 0; ; count++) {
      const next = yield* ask({ _tag: "Next", nowMs: yield* Clock.currentTimeMillis, size })
      if (next === undefined) return count
      yield* objects.put(next.mark.name, next.bytes)
      yield* ask({ _tag: "Exported", mark: next.mark })
      // Rows that were added meanwhile wait for the next export. Otherwise this would not end while a run goes on.
      if (!next.more) return count + 1
    }
  }).pipe(Effect.catchTag(["ObjectNameInvalid", "SegmentDamaged", "SegmentNewer"], Effect.die))

/** Imports all that is new, but for what `refused` has. */
const importing = (
  objects: typeof Objects.Service,
  ask: Ask,
  refused: Map<string, Refusal>,
  { store, warn = Effect.logWarning }: Options,
) =>
  Effect.gen(function* () {
    let imported = 0
    const refusals: Array<Refusal> = []
    const refuse = (given: Refusal) => {
      const error = named(given, store)
      refused.set(error.segment, error)
      refusals.push(error)
      return warn(error.message)
    }
    const fetch = (segment: string) =>
      objects.get(segment, { maxBytes: Segment.maxBytes }).pipe(
        Effect.catchTag("ObjectTooLarge", ({ bytes, maxBytes }) =>
          Effect.as(
            refuse(
              new Segment.SegmentDamaged({
                segment,
                problem: `it has ${bytes} bytes, more than ${maxBytes}`,
              }),
            ),
            Option.none<Uint8Array<ArrayBuffer>>(),
          ),
        ),
        Effect.map((bytes) => ({ name: segment, bytes })),
      )
    const bring = ({ bytes, name }: { name: string; bytes: Option.Option<Uint8Array<ArrayBuffer>> }) =>
      Option.isNone(bytes)
        ? Effect.void
        : ask({ _tag: "Import", name, bytes: bytes.value }).pipe(
            Effect.andThen(Effect.sync(() => void imported++)),
            Effect.catchTag(["SegmentDamaged", "SegmentNewer"], refuse),
          )
    /** In their order, a few at a time. */
    const bringAll = <E>(names: Stream.Stream<string, E>) =>
      names.pipe(Stream.mapEffect(fetch, { concurrency: 4 }), Stream.runForEach(bring))
    yield* bringAll(
      objects.list(Segment.folder).pipe(
        Stream.filter((name) => Segment.timeOf(name) !== undefined && !refused.has(name)),
        Stream.grouped(1000),
        Stream.mapEffect((names) => ask({ _tag: "Unseen", names })),
        Stream.flatMap(Stream.fromIterable),
      ),
    )
    const count = imported
    // The rows that they refer to may be there now.
    if (count > 0) yield* bringAll(Stream.fromIterable(yield* ask({ _tag: "Incomplete" })))
    return { imported: count, refused: refusals }
  }).pipe(Effect.catchTag(["ObjectNameInvalid", "SegmentDamaged", "SegmentNewer"], Effect.die))

const make = (file: string, options: Options) =>
  Effect.gen(function* () {
    const objects = yield* Objects
    const journal = yield* Journal
    const ask = yield* thread(file)
    const refused = new Map<string, Refusal>()
    const alone = yield* Semaphore.make(1)
    const exportNew = Semaphore.withPermit(alone, exporting(objects, ask, options.segmentSize))
    const importNew = Semaphore.withPermit(alone, importing(objects, ask, refused, options))

    let told = false
    const warn = (problem: string) =>
      Effect.suspend(() => {
        if (told) return Effect.void
        told = true
        return (options.warn ?? Effect.logWarning)(
          `the journal ${file} could not be exported: ${problem}; its rows are safe in the file, and others see them once an export succeeds`,
        )
      })
    const tryExport = exportNew.pipe(
      Effect.andThen(Effect.sync(() => void (told = false))),
      Effect.catchCause((cause) =>
        Cause.hasInterruptsOnly(cause) ? Effect.interrupt : warn(problemOf(Cause.squash(cause))),
      ),
    )

    yield* importNew
    const within = Duration.fromInputUnsafe(options.closeWithin ?? "1 minute")
    yield* Effect.addFinalizer(() =>
      Effect.interruptible(tryExport).pipe(
        Effect.timeoutOption(within),
        Effect.flatMap(
          Option.match({
            onNone: () => warn(`the store has not answered within ${Duration.format(within)}`),
            onSome: () => Effect.void,
          }),
        ),
      ),
    )
    yield* Effect.sleep(options.every ?? "30 seconds").pipe(
      Effect.andThen(tryExport),
      Effect.forever,
      Effect.forkScoped,
    )

    const shared = Journal.of({
      ...journal,
      endRun: (run, end) => Effect.andThen(journal.endRun(run, end), tryExport),
    })
    const sync = Effect.gen(function* () {
      const exported = yield* exportNew
      return { exported, ...(yield* importNew) }
    })
    return Context.make(Journal, shared).pipe(Context.add(JournalShared, JournalShared.of({ sync })))
  })

/** Imports what is new, and writes nothing to the store. A store that does not answer is reported when there is something to read. */
const read = (file: string, options: Options, orElse: boolean) =>
  Effect.gen(function* () {
    const objects = yield* Objects
    const ask = yield* thread(file)
    const importNew = importing(objects, ask, new Map(), options)
    yield* Effect.catchTag(importNew, "StoreUnreadable", (error) =>
      orElse ? (options.warn ?? Effect.logWarning)(behind(error)) : Effect.fail(error),
    )
  })

/** The warning for a journal that was read without what is new in the store. */
export const behind = (error: { readonly message: string }): string =>
  `${error.message}; what follows is what this machine knows of the store, and may lack what others did since`

const problemOf = (cause: unknown): string => (cause instanceof Error ? cause.message : String(cause))

/**
 * The journal in a file, created when it is missing, with all of the store's segments: they are imported when
 * it is opened. It is exported at the end of each run, when it is closed, and at intervals between.
 */
export const layer = (
  file: string,
  options: Options = {},
): Layer.Layer<Journal | JournalShared, JournalError | JournalNewer | StoreUnreadable, Objects> =>
  Layer.effectContext(make(file, options)).pipe(
    Layer.provide(
      JournalSqlite.layer(file, options.durability === undefined ? {} : { durability: options.durability }),
    ),
  )

/**
 * The same for reading alone: all that is new in the store is imported first, and nothing is written to it. When the
 * store cannot be read and the file is there, what the file has is read, with a warning.
 */
export const layerReading = (
  file: string,
  options: Pick<Options, "store" | "warn"> = {},
): Layer.Layer<Journal, JournalError | JournalNewer | StoreUnreadable, Objects> =>
  Layer.unwrap(
    Effect.gen(function* () {
      const isThere = fs.existsSync(file)
      const journal = JournalSqlite.layerReading(file)
      if (isThere && !Reading.isWritable(file)) {
        yield* (options.warn ?? Effect.logWarning)(
          behind({ message: `the journal ${file} may only be read, so that nothing can be imported` }),
        )
        return journal
      }
      // The thread of segments takes the file as it is: it is made, or brought to this format, before.
      const imported = Effect.tap(Journal, () => Effect.scoped(read(file, options, isThere)))
      return Layer.effect(Journal, imported).pipe(Layer.provide(journal))
    }),
  )
