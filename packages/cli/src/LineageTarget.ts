/** What a person asks the lineage of: a file, by its content alone, or an item or artifact by its digest. */
import { createHash } from "node:crypto"
import * as fs from "node:fs"

import { isSha256, type Journal } from "@reelgraph/store"
import * as Effect from "effect/Effect"
import * as Stream from "effect/Stream"

import { Ambiguous, InputUnreadable, ItemUnknown } from "./UsageError.ts"

export interface LineageTarget {
  readonly given: string
  /** Row ids of the items that are meant: several when they name the same artifact, or are the members of a set. */
  readonly items: ReadonlyArray<number>
  /** The blob that is meant, when it is not an item. */
  readonly sha256?: string
}

/** Digits of a digest that are taken for one. */
const leastDigits = 6

/** Finds the items that a path, a digest or the beginning of one stands for. */
export const find = Effect.fn("LineageTarget.find")(function* (
  journal: typeof Journal.Service,
  given: string,
  store: string,
) {
  const unknown = (why: string) => new ItemUnknown({ given, store, why })
  const status = fs.existsSync(given) ? fs.statSync(given, { throwIfNoEntry: false }) : undefined
  if (status?.isFile() === true) {
    const sha256 = yield* digestOf(given)
    const items = journal.itemsOfArtifact(sha256)
    if (items.length === 0)
      return yield* unknown(
        `no run of this store took in or made a file with this content (sha256 ${sha256})`,
      )
    return { given, items, sha256 } satisfies LineageTarget
  }
  if (!/^[0-9a-f]+$/i.test(given)) {
    return yield* unknown(
      status === undefined
        ? "is neither a file nor a digest; `reel show last --json` lists digests"
        : "is not a file; give one file, or the digest of an item",
    )
  }
  const digits = given.toLowerCase()
  if (digits.length < leastDigits) return yield* unknown(`give at least ${leastDigits} digits of a digest`)
  if (digits.length > 64) return yield* unknown("a digest has 64 digits at most")
  const found = journal.startingWith(digits)
  const [item] = found.items
  const [artifact] = found.artifacts
  // The record of an item and a blob never share digits by accident; one that is complete names one thing.
  if (item !== undefined && found.items.length === 1 && (isSha256(digits) || found.artifacts.length === 0)) {
    // A set is no item of anybody's: who asks for it asks for its members.
    const items = journal.members(item) ?? [item]
    if (items.length === 0)
      return yield* unknown("is the digest of a set of items, and this store has none of its members")
    return { given, items } satisfies LineageTarget
  }
  if (artifact !== undefined && found.artifacts.length === 1 && found.items.length === 0)
    return { given, items: journal.itemsOfArtifact(artifact), sha256: artifact } satisfies LineageTarget
  if (found.items.length + found.artifacts.length === 0)
    return yield* unknown("no item and no artifact has a digest that begins so")
  return yield* new Ambiguous({
    what: "items and artifacts",
    given,
    matches: [...found.items.map((id) => journal.item(id)?.digest ?? "?"), ...found.artifacts].map((digest) =>
      digest.slice(0, digits.length + 6),
    ),
  })
})

/** The SHA-256 of a file, read in pieces. */
const digestOf = (path: string): Effect.Effect<string, InputUnreadable> =>
  Effect.suspend(() => {
    const hash = createHash("sha256")
    return Stream.fromAsyncIterable<Buffer, InputUnreadable>(
      fs.createReadStream(path, { highWaterMark: 1024 * 1024 }),
      (cause) =>
        new InputUnreadable({
          input: "file",
          path,
          problem: cause instanceof Error ? cause.message : String(cause),
        }),
    ).pipe(
      Stream.runForEach((bytes) => Effect.sync(() => hash.update(bytes))),
      Effect.map(() => hash.digest("hex")),
    )
  })
