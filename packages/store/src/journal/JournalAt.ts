/**
 * The journal of a store by what a user writes after `--store`, for reading alone: for commands that change
 * nothing. The store may be one that this user can only read.
 *
 * Of a folder it is the file in it. Of a bucket it is the file of this machine, made when there is none, with all that
 * other machines have exported in segments until now; the bucket is only read.
 */
import { existsSync, mkdirSync, mkdtempSync, rmSync } from "node:fs"
import { tmpdir } from "node:os"
import { dirname, join } from "node:path"

import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Option from "effect/Option"
import * as Schema from "effect/Schema"

import type { NotAStore, StoreUnreadable, StoreVersionUnsupported } from "../blobs/BlobStore.ts"
import * as Reading from "../internal/journal/readOnly.ts"
import * as ObjectsS3 from "../internal/s3/objectsS3.ts"
import * as S3Requests from "../internal/s3/requests.ts"
import { checkVersion } from "../internal/folder/StoreRoot.ts"
import { type Journal, JournalError, type JournalNewer } from "./Journal.ts"
import * as JournalShared from "./JournalShared.ts"
import * as JournalSqlite from "./JournalSqlite.ts"
import { Objects } from "../Objects.ts"
import type { S3Error } from "../S3Error.ts"
import * as StoreAt from "../StoreAt.ts"
import * as StoreLocation from "../StoreLocation.ts"

/** There is no store at a location, or none in which anything has run. */
export class JournalMissing extends Schema.TaggedError<JournalMissing>()("JournalMissing", {
  location: Schema.String,
}) {
  override get message() {
    return `there is no store at ${this.location}, or nothing has run in it`
  }
}

export type ReadingError =
  | JournalMissing
  | JournalError
  | JournalNewer
  | StoreUnreadable
  | NotAStore
  | StoreVersionUnsupported
  | S3Error
  | StoreLocation.LocationInvalid

export interface Options {
  /** Takes a sentence about a problem that does not stop the reading. @default a warning in the log */
  readonly warn?: (sentence: string) => Effect.Effect<void>
}

/** A bucket that does not answer is reported soon: a person waits. A run tries for longer. */
const attempts = 3

export const layerReading = (location: string, options: Options = {}): Layer.Layer<Journal, ReadingError> =>
  Layer.unwrap(
    Effect.gen(function* () {
      const at = yield* StoreLocation.parse(location)
      const file = yield* StoreAt.journalFile(location)
      if (at._tag === "Bucket") return ofBucket(location, at, file, options)
      if (!existsSync(file) && isOpen(at.path)) return yield* new JournalMissing({ location })
      return JournalSqlite.layerReading(file)
    }),
  )

/** Whether this user may enter a folder. One that cannot be entered may have what is looked for. */
const isOpen = (folder: string): boolean => !existsSync(folder) || Reading.isEntered(folder)

const ofBucket = (location: string, at: StoreLocation.Bucket, file: string, options: Options) =>
  Layer.unwrap(
    Effect.gen(function* () {
      const prefix = at.prefix === "" ? "" : `${at.prefix}/`
      const isThere = existsSync(file)
      const objects = Effect.gen(function* () {
        const requests = yield* S3Requests.open({
          bucket: at.bucket,
          endpoint: at.endpoint,
          region: at.region,
          pathStyle: at.pathStyle,
          requests: 32,
          attempts,
          timeoutMs: at.timeoutMs ?? 30_000,
          pauseMs: 100,
        })
        const mark = Option.getOrUndefined(yield* requests.get(`${prefix}store.json`))
        if (mark === undefined) return yield* new JournalMissing({ location })
        yield* checkVersion(requests.urlOf(prefix), new TextDecoder().decode(mark.bytes))
        return ObjectsS3.make(requests, prefix)
      })
      const warn = options.warn ?? Effect.logWarning
      // What this machine has can be read while the bucket does not answer.
      const reached = yield* objects.pipe(
        Effect.catchIf(
          (error) => isThere && error._tag !== "JournalMissing",
          (error) => Effect.as(warn(JournalShared.behind(error)), undefined),
        ),
      )
      if (reached === undefined) return JournalSqlite.layerReading(file)
      return JournalShared.layerReading(isThere ? file : yield* fileFor(file), {
        store: location,
        warn,
      }).pipe(Layer.provide(Layer.succeed(Objects, reached)))
    }),
  )

/** The file, or one in a folder that is gone when the scope ends, where the caches of this user cannot be written. */
const fileFor = (file: string) =>
  Effect.gen(function* () {
    const isMade = yield* Effect.sync(() => {
      try {
        mkdirSync(dirname(file), { recursive: true })
        return Reading.isFolderWritable(dirname(file))
      } catch {
        return false
      }
    })
    if (isMade) return file
    const folder = yield* Effect.acquireRelease(
      Effect.try({
        try: () => mkdtempSync(join(tmpdir(), "reelgraph-journal-")),
        catch: (cause) => new JournalError({ file, action: "opened", problem: (cause as Error).message }),
      }),
      (path) => Effect.sync(() => rmSync(path, { recursive: true, force: true })),
    )
    return join(folder, "journal.db")
  })
