/** References to external files as small JSON files in the store's `refs/`. */
import fs from "node:fs"
import { join } from "node:path"
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import * as Schema from "effect/Schema"
import type { StoreUnreadable } from "../../blobs/BlobStore.ts"
import { IndexEntry, SourceRef, type SourceTable } from "../../blobs/SourceRef.ts"
import { replaceFile } from "./durableWrite.ts"
import { attempt } from "./fileIo.ts"
import { isAbsent, readFailure } from "./ioError.ts"
import { type StoreRoot, temporaryPath } from "./StoreRoot.ts"

const IndexText = Schema.fromJsonString(IndexEntry)
const RefText = Schema.fromJsonString(SourceRef)

/** The folder that holds one file per place registered for a digest. */
export const refsFolder = (root: StoreRoot, sha256: string): string =>
  join(root.path, "refs", sha256.slice(0, 2), sha256.slice(2))

const indexPath = (root: StoreRoot, pathKey: string): string =>
  join(root.path, "refs", "by-path", `${pathKey}.json`)

const readText = (path: string): Effect.Effect<Option.Option<string>, StoreUnreadable> =>
  attempt(() => fs.readFileSync(path, "utf8"), readFailure(path)).pipe(
    Effect.map(Option.some),
    Effect.catchIf(
      (error) => isAbsent(error.cause),
      () => Effect.succeed(Option.none<string>()),
    ),
  )

/** The names in a folder; none when there is no such folder. */
export const namesIn = (folder: string): Effect.Effect<ReadonlyArray<string>, StoreUnreadable> =>
  attempt(() => (fs.existsSync(folder) ? fs.readdirSync(folder) : []), readFailure(folder))

export const makeTable = (root: StoreRoot): SourceTable => ({
  // An entry that does not decode is as good as none: the file is hashed again and the entry replaced.
  readIndex: (pathKey) =>
    Effect.map(readText(indexPath(root, pathKey)), Option.flatMap(Schema.decodeUnknownOption(IndexText))),
  // Not flushed: losing an entry costs hashing the file once more.
  writeIndex: (pathKey, entry) =>
    replaceFile(temporaryPath(root), indexPath(root, pathKey), Schema.encodeSync(IndexText)(entry), {
      ...root,
      durability: "none",
    }),
  readRefs: Effect.fnUntraced(function* (sha256) {
    const folder = refsFolder(root, sha256)
    const refs: Array<SourceRef> = []
    for (const name of yield* namesIn(folder)) {
      const ref = Option.flatMap(yield* readText(join(folder, name)), Schema.decodeUnknownOption(RefText))
      if (Option.isSome(ref)) refs.push(ref.value)
    }
    return refs
  }),
  writeRef: (sha256, pathKey, ref) =>
    replaceFile(
      temporaryPath(root),
      join(refsFolder(root, sha256), `${pathKey.slice(0, 32)}.json`),
      Schema.encodeSync(RefText)(ref),
      root,
    ),
})
