/** The store of a command: blobs in a folder or a bucket, and the journal, which is a file of this machine. */
import { existsSync } from "node:fs"

import { JournalSqlite, StoreAt, type StoreLocation } from "@reelgraph/store"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"

import { StoreMissing, StoreUnsupported } from "./UsageError.ts"

const unsupported = ({ location, problem }: StoreLocation.LocationInvalid) =>
  new StoreUnsupported({ store: location, problem })

const journalOf = (store: string) => Effect.mapError(StoreAt.journalFile(store), unsupported)

/** Blobs and journal, made when they are not there. */
export const layer = (store: string) =>
  Layer.unwrap(
    Effect.map(journalOf(store), (file) =>
      // The journal goes into the folder that the blob store has made or found fit.
      JournalSqlite.layer(file).pipe(Layer.provideMerge(StoreAt.layer(store))),
    ),
  )

/** The journal of a store that is there: for commands that only read. */
export const layerJournal = (store: string) =>
  Layer.unwrap(
    Effect.flatMap(journalOf(store), (file) =>
      existsSync(file) ? Effect.succeed(JournalSqlite.layer(file)) : Effect.fail(new StoreMissing({ store })),
    ),
  )

/** Whether there is a journal to read. */
export const exists = (store: string) => Effect.map(journalOf(store), existsSync)
