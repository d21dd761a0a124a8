/** The store of a command: blobs in a folder or a bucket, and the journal, which is a file of this machine. */
import { existsSync } from "node:fs"
import { dirname, join, resolve } from "node:path"

import {
  Journal,
  JournalAt,
  JournalShared,
  JournalSqlite,
  Notices,
  StoreAt,
  StoreLocation,
} from "@reelgraph/store"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"

import * as Format from "./Format.ts"
import { TerminalOutput } from "./TerminalOutput.ts"
import { StoreMissing, StoreUnsupported } from "./UsageError.ts"

const unsupported = ({ location, problem }: StoreLocation.LocationInvalid) =>
  new StoreUnsupported({ store: location, problem })

const journalOf = (store: string) => Effect.mapError(StoreAt.journalFile(store), unsupported)

const isFolder = (store: string) =>
  Effect.map(Effect.mapError(StoreLocation.parse(store), unsupported), ({ _tag }) => _tag === "Folder")

/** Reports on stderr what does not stop a command. */
const warning = Effect.map(
  TerminalOutput,
  (screen) => (sentence: string) => Effect.sync(() => screen.tell(`reel: ${Format.line(sentence)}`)),
)

/** What a store has to report goes where the command reports all else. */
const notices = Layer.unwrap(Effect.map(warning, (warn) => Layer.succeed(Notices, warn)))

/** Blobs and journal, made when they are not there. The journal of a bucket is shared with whoever else uses it. */
export const layer = (store: string) =>
  Layer.unwrap(
    Effect.gen(function* () {
      const file = yield* journalOf(store)
      const warn = yield* warning
      const journal = (yield* isFolder(store))
        ? JournalSqlite.layer(file)
        : JournalShared.layer(file, { store, warn })
      // The journal goes into the folder that the blob store has made or found fit.
      return journal.pipe(Layer.provideMerge(StoreAt.layer(store)), Layer.provide(notices))
    }),
  )

/** The store as processes on other machines find it. */
export const located = (store: string) =>
  Effect.map(isFolder(store), (folder) => (folder ? resolve(store) : store))

/** Folder for the logs of workers: beside the journal. */
export const logs = (store: string) => Effect.map(journalOf(store), (file) => join(dirname(file), "logs"))

/**
 * The journal of a store that is there, for commands that only read: with all that other machines have told until now,
 * and also of a store that may only be read.
 */
export const layerJournal = (store: string) =>
  Layer.unwrap(
    Effect.map(warning, (warn) =>
      JournalAt.layerReading(store, { warn }).pipe(
        Layer.catchTag("JournalMissing", () =>
          Layer.effect(Journal, Effect.fail(new StoreMissing({ store }))),
        ),
        Layer.catchTag("LocationInvalid", (error) => Layer.effect(Journal, Effect.fail(unsupported(error)))),
      ),
    ),
  )

/** Whether the folder of a store that a command has used is still there; a bucket counts as there. */
export const isThere = (store: string) =>
  Effect.map(
    StoreLocation.parse(store),
    (at) => at._tag !== "Folder" || existsSync(join(at.path, "store.json")),
  )

/** Whether there is a journal to read. */
export const exists = (store: string) => Effect.map(journalOf(store), existsSync)
