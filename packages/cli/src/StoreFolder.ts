/** The store of a command: a folder with the blobs, and the journal in it. */
import { existsSync } from "node:fs"
import { join, resolve } from "node:path"

import { BlobStoreFs, JournalSqlite } from "@reelgraph/store"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"

import { StoreMissing, StoreUnsupported } from "./UsageError.ts"

const journalOf = (store: string): string => join(resolve(store), "journal.db")

const supported = (store: string): Effect.Effect<void, StoreUnsupported> =>
  /^[a-z][a-z0-9+.-]+:\/\//i.test(store) ? Effect.fail(new StoreUnsupported({ store })) : Effect.void

/** Blobs and journal, made when they are not there. */
export const layer = (store: string) =>
  Layer.unwrap(
    Effect.as(
      supported(store),
      // The journal goes into the folder that the blob store has made or found fit.
      JournalSqlite.layer(journalOf(store)).pipe(Layer.provideMerge(BlobStoreFs.layer(resolve(store)))),
    ),
  )

/** The journal of a store that is there: for commands that only read. */
export const layerJournal = (store: string) =>
  Layer.unwrap(
    Effect.andThen(
      supported(store),
      existsSync(journalOf(store))
        ? Effect.succeed(JournalSqlite.layer(journalOf(store)))
        : Effect.fail(new StoreMissing({ store })),
    ),
  )

/** Whether there is a journal to read. */
export const exists = (store: string): boolean => existsSync(journalOf(store))
