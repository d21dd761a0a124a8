/**
 * A store by what a user writes after `--store`: a folder, or `s3://bucket/prefix`. Everything but the journal, which
 * is the file {@link journalFile}.
 */
import { join } from "node:path"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"

import type { BlobStore, OpenError, Scratch } from "./blobs/BlobStore.ts"
import * as BlobStoreFs from "./blobs/BlobStoreFs.ts"
import * as BlobStoreS3 from "./blobs/BlobStoreS3.ts"
import type { Objects } from "./Objects.ts"
import type { S3Error } from "./S3Error.ts"
import * as StoreLocation from "./StoreLocation.ts"
import type { Unfinished } from "./Unfinished.ts"

export interface Options {
  /**
   * Whether there has to be a store, as for a process that works for another one: then none is made where it has gone.
   * @default false
   */
  readonly existing?: boolean
}

/** The store at a location, made when there is none. The SDK for S3 is loaded when one is opened. */
export const layer = (
  location: string,
  { existing = false }: Options = {},
): Layer.Layer<
  BlobStore | Scratch | Unfinished | Objects,
  OpenError | S3Error | StoreLocation.LocationInvalid
> =>
  Layer.unwrap(
    Effect.gen(function* () {
      const at = yield* StoreLocation.parse(location)
      if (at._tag === "Folder") return BlobStoreFs.layer(at.path, { existing })
      return BlobStoreS3.layer(at, { cacheBytes: yield* StoreLocation.cacheBytes, existing })
    }),
  )

/** The file of the store's journal: in its folder, or for a store in a bucket in a cache folder of this machine. */
export const journalFile = (location: string): Effect.Effect<string, StoreLocation.LocationInvalid> =>
  Effect.gen(function* () {
    const at = yield* StoreLocation.parse(location)
    const folder =
      at._tag === "Folder" ? at.path : StoreLocation.localFolder(yield* StoreLocation.cacheFolder, at)
    return join(folder, "journal.db")
  })
