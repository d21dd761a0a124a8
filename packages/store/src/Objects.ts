/**
 * Named objects beside the blobs: small files known by name, for messages between processes that share
 * nothing but the store (tasks, results, journal segments).
 *
 * A name is `runs/curate-20260114/tasks/0001.json`: parts of letters, digits, dots, dashes and underscores, none of
 * them beginning with a dot or longer than 200 characters, at most 512 in all. No name may be the folder of another
 * (`a/b` beside `a/b/c`): a folder store refuses the later one. An object appears whole or not at all; putting one that
 * is there replaces it, whole. After a put has succeeded, every reader finds it, and every list has it.
 */
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import type * as Option from "effect/Option"
import * as Schema from "effect/Schema"
import type * as Stream from "effect/Stream"

import type { PutError, StoreUnreadable } from "./blobs/BlobStore.ts"

/** A name that could leave the store, or that some store could not hold. */
export class ObjectNameInvalid extends Schema.TaggedError<ObjectNameInvalid>()("ObjectNameInvalid", {
  name: Schema.String,
}) {
  override get message() {
    return `${JSON.stringify(this.name)} does not name an object: expected parts of letters, digits, dots, dashes and underscores between slashes, none beginning with a dot`
  }
}

/** An object is larger than its reader is willing to take. */
export class ObjectTooLarge extends Schema.TaggedError<ObjectTooLarge>()("ObjectTooLarge", {
  name: Schema.String,
  bytes: Schema.Finite,
  maxBytes: Schema.Finite,
}) {
  override get message() {
    return `object ${this.name} has ${this.bytes} bytes, more than the bound of ${this.maxBytes}`
  }
}

const part = /^[A-Za-z0-9_-][A-Za-z0-9._-]{0,199}$/

/** Whether a name may be an object's. */
export const isObjectName = (name: string): boolean =>
  typeof name === "string" && name.length <= 512 && name.split("/").every((each) => part.test(each))

/** The name, or that it is none. */
export const checkName = (name: string): Effect.Effect<string, ObjectNameInvalid> =>
  isObjectName(name)
    ? Effect.succeed(name)
    : // oxlint-disable-next-line typescript/no-unnecessary-type-conversion -- a name from outside may be anything
      Effect.fail(new ObjectNameInvalid({ name: String(name) }))

/** What `list` takes: a folder of names, or the empty text for all. */
export const checkPrefix = (prefix: string): Effect.Effect<string, ObjectNameInvalid> =>
  prefix === "" ? Effect.succeed(prefix) : checkName(prefix)

/** The bound of `get` when none is given, in bytes. */
export const defaultMaxObjectBytes = 64 * 1024 * 1024

export class Objects extends Context.Service<
  Objects,
  {
    readonly put: (name: string, bytes: Uint8Array) => Effect.Effect<void, ObjectNameInvalid | PutError>
    /** None when there is no such object. `maxBytes` is `defaultMaxObjectBytes` when left out. */
    readonly get: (
      name: string,
      options?: { readonly maxBytes?: number },
    ) => Effect.Effect<
      Option.Option<Uint8Array<ArrayBuffer>>,
      ObjectNameInvalid | ObjectTooLarge | StoreUnreadable
    >
    /**
     * Names of all objects in the folder `prefix` (`runs/x`, without a slash at its end) and in the folders below it,
     * whole and sorted as S3 does, by their bytes. The empty prefix lists every object.
     */
    readonly list: (prefix: string) => Stream.Stream<string, ObjectNameInvalid | StoreUnreadable>
    /** Idempotent. */
    readonly remove: (name: string) => Effect.Effect<void, ObjectNameInvalid | PutError>
  }
>()("reelgraph/store/Objects") {}
