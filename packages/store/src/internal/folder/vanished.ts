/** Stores whose folder has gone while they were open: what fails then is the store, and nothing is missing from it. */
import fs from "node:fs"
import { join } from "node:path"
import * as Effect from "effect/Effect"

import {
  type StoreUnreadable,
  StoreUnwritable,
  StoreUnreadable as Unreadable,
  StoreVanished,
} from "../../blobs/BlobStore.ts"

/** A store, by its folder. */
interface Root {
  readonly path: string
}

/** Whether the mark of an open store cannot be found any more: a folder that was removed, or a mount that was. */
export const isGone = (root: Root): boolean => !fs.existsSync(join(root.path, "store.json"))

/** That a store has gone, to who reads. */
export const unreadable = ({ path }: Root): StoreUnreadable =>
  new Unreadable({ path, cause: new StoreVanished({ path }) })

/** That a store has gone, to who writes. */
export const unwritable = ({ path }: Root): StoreUnwritable =>
  new StoreUnwritable({ path, cause: new StoreVanished({ path }) })

const suspicious = new Set(["StoreUnwritable", "StoreUnreadable", "BlobMissing", "SourceMissing"])

const isSuspicious = (error: unknown): boolean =>
  typeof error === "object" &&
  error !== null &&
  "_tag" in error &&
  typeof error._tag === "string" &&
  suspicious.has(error._tag)

/** What reading fails with, or that the store has gone, if that is why. */
export const reading =
  (root: Root) =>
  <E>(error: E): E | StoreUnreadable =>
    isSuspicious(error) && isGone(root) ? unreadable(root) : error

/** What writing fails with, or that the store has gone, if that is why. */
export const writing =
  (root: Root) =>
  <E>(error: E): E | StoreUnwritable =>
    isSuspicious(error) && isGone(root) ? unwritable(root) : error

/** Fails when a store has gone: for who has found nothing in it. */
export const check = (root: Root): Effect.Effect<void, StoreUnreadable> =>
  Effect.suspend(() => (isGone(root) ? Effect.fail(unreadable(root)) : Effect.void))
