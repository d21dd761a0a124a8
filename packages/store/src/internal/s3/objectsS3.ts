/** Named objects in a bucket: `<prefix>/objects/<name>`. */
import { createHash } from "node:crypto"
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import * as Stream from "effect/Stream"

import { OutOfSpace, StoreUnreadable, StoreUnwritable } from "../../blobs/BlobStore.ts"
import * as CallBlobs from "../../blobs/CallBlobs.ts"
import {
  checkName,
  checkPrefix,
  defaultMaxObjectBytes,
  isObjectName,
  Objects,
  ObjectTooLarge,
} from "../../Objects.ts"
import type { S3Error } from "../../S3Error.ts"
import type { Requests } from "./requests.ts"

/** `prefix` is empty or ends in a slash. */
export const make = (requests: Requests, prefix: string): Objects["Service"] => {
  const top = `${prefix}objects/`
  const unreadable = (key: string) => (cause: unknown) =>
    new StoreUnreadable({ path: requests.urlOf(key), cause })
  const unwritable = (key: string) => (cause: S3Error) =>
    cause._tag === "StorageFull"
      ? new OutOfSpace({ path: requests.urlOf(key), cause })
      : new StoreUnwritable({ path: requests.urlOf(key), cause })

  return Objects.of({
    put: Effect.fn("Objects.put")(function* (name, bytes) {
      const key = `${top}${yield* checkName(name)}`
      yield* CallBlobs.settled
      const sha256 = createHash("sha256").update(bytes).digest("hex")
      yield* Effect.mapError(requests.put(key, bytes, sha256), unwritable(key))
    }),
    get: Effect.fn("Objects.get")(function* (name, options) {
      const key = `${top}${yield* checkName(name)}`
      const maxBytes = options?.maxBytes ?? defaultMaxObjectBytes
      const check = (bytes: number) =>
        bytes > maxBytes ? Effect.fail(new ObjectTooLarge({ name, bytes, maxBytes })) : Effect.void
      const found = yield* requests
        .get(key, check)
        .pipe(Effect.mapError((error) => (error._tag === "ObjectTooLarge" ? error : unreadable(key)(error))))
      return Option.map(found, ({ bytes }) => bytes)
    }),
    list: (folder) =>
      Stream.unwrap(
        Effect.map(checkPrefix(folder), () => {
          const below = folder === "" ? top : `${top}${folder}/`
          // Amazon's lists are sorted, not those of every server; names are short enough to have all of them here.
          return Stream.fromIterableEffect(
            Effect.map(Stream.runCollect(requests.list(below)), (listed) =>
              listed
                .map(({ key }) => key.slice(top.length))
                .filter(isObjectName)
                .sort(),
            ),
          ).pipe(Stream.mapError(unreadable(below)))
        }),
      ),
    remove: Effect.fn("Objects.remove")(function* (name) {
      const key = `${top}${yield* checkName(name)}`
      yield* Effect.mapError(requests.remove(key), unwritable(key))
    }),
  })
}
