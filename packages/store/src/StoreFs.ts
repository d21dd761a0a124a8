/**
 * A whole store in one folder: blobs, references to external files, scratch space, unfinished work, named objects,
 * and the journal.
 */
import { join } from "node:path"

import * as Layer from "effect/Layer"

import type { BlobStore, OpenError, Scratch } from "./blobs/BlobStore.ts"
import * as BlobStoreFs from "./blobs/BlobStoreFs.ts"
import type { Journal, JournalError, JournalNewer } from "./journal/Journal.ts"
import * as JournalSqlite from "./journal/JournalSqlite.ts"
import type { Objects } from "./Objects.ts"
import type { Unfinished } from "./Unfinished.ts"

/**
 * The store in the folder `root`, made when it does not exist.
 *
 * `durability` `fsync` survives a power cut; `none` survives the end of the process, and is for tests.
 */
export const layer = (
  root: string,
  options: { readonly durability?: "fsync" | "none" } = {},
): Layer.Layer<
  BlobStore | Scratch | Unfinished | Objects | Journal,
  OpenError | JournalError | JournalNewer
> => {
  const durability = options.durability ?? "fsync"
  // The folder is checked and marked as a store before the journal puts its files there.
  return JournalSqlite.layer(join(root, "journal.db"), {
    durability: durability === "fsync" ? "full" : "normal",
  }).pipe(Layer.provideMerge(BlobStoreFs.layer(root, { durability })))
}
