/**
 * Which files are known to have the content that their digest promises: each is hashed once in a process, and again
 * when anything about it has changed.
 *
 * What is remembered of a file is its length, inode, modification time and change time. The last is left out for a
 * cache: pinning a file there is another link to it, which changes the change time and nothing else.
 */
import fs from "node:fs"
import * as Effect from "effect/Effect"

import { attempt, hashFile } from "./fileIo.ts"
import * as Turns from "../turns.ts"

/** Files that are remembered, the latest: some 5 MB. */
const remembered = 32_768

export interface IntactFiles {
  /** Remembers a file as it is now: its content was just written, or compared, by this process. */
  readonly note: (path: string, sha256: string) => void
  /** The digest of a file: as remembered when it has not changed, and otherwise hashed. */
  readonly digestOf: <E>(
    path: string,
    sha256: string,
    fail: (cause: unknown) => E,
  ) => Effect.Effect<string, E>
}

export const make = (options: { readonly changeTime: boolean }): IntactFiles => {
  const known = new Map<string, string>()
  const inTurn = Turns.make()

  /** What is compared of a file; the digest is in it, for a path may come to hold another. */
  const stampOf = (path: string, sha256: string): string => stamp(fs.statSync(path, { bigint: true }), sha256)

  const stamp = ({ ctimeNs, dev, ino, mtimeNs, size }: fs.BigIntStats, sha256: string): string => {
    // A cache sets times in microseconds.
    const times = options.changeTime ? `${mtimeNs} ${ctimeNs}` : `${mtimeNs / 1_000_000n}`
    return `${sha256} ${dev} ${ino} ${size} ${times}`
  }

  const remember = (path: string, stamp: string): void => {
    known.delete(path)
    known.set(path, stamp)
    if (known.size > remembered) known.delete(known.keys().next().value!)
  }

  return {
    note: (path, sha256) => {
      // Another process may have removed it since.
      const status = fs.statSync(path, { bigint: true, throwIfNoEntry: false })
      if (status !== undefined) remember(path, stamp(status, sha256))
    },
    digestOf: (path, sha256, fail) =>
      Effect.gen(function* () {
        if (known.get(path) === (yield* attempt(() => stampOf(path, sha256), fail))) return sha256
        return yield* inTurn(
          path,
          Effect.gen(function* () {
            const before = yield* attempt(() => stampOf(path, sha256), fail)
            if (known.get(path) === before) return sha256
            const hashed = yield* hashFile(path, fail)
            // Written to meanwhile: the next reader hashes it again.
            const after = yield* attempt(() => stampOf(path, sha256), fail)
            if (hashed.sha256 === sha256 && before === after) remember(path, after)
            return hashed.sha256
          }),
        )
      }),
  }
}
