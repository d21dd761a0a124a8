/** `reel verify`: reads every blob of a store and compares it with its digest. */
import { Journal, BlobStore } from "@reelgraph/store"
import * as Effect from "effect/Effect"
import * as Stream from "effect/Stream"

import * as ExitCode from "../ExitCode.ts"
import * as Format from "../Format.ts"
import * as LostBlobs from "../LostBlobs.ts"
import { TerminalOutput } from "../TerminalOutput.ts"
import * as StoreFolder from "../StoreFolder.ts"
import type { Task } from "../Task.ts"
import { StoreMissing } from "../UsageError.ts"

export interface Options {
  readonly store: string
  readonly json: boolean
}

/** A blob or file that is not as it should be, and a sentence about it. */
interface Problem {
  /** Digest of a blob, or name of a foreign file. */
  readonly what: string
  readonly problem: string
}

/** What was found. */
export interface Verified {
  readonly store: string
  /** Blobs and registered files that were read. */
  readonly checked: number
  readonly bytes: number
  /** Moved aside: results that name them are made anew by the next run. */
  readonly damaged: ReadonlyArray<Problem>
  /** Named by results, and not there. */
  readonly missing: ReadonlyArray<Problem>
  /** Registered files of others that have changed or gone, and files in the store that are not its own. */
  readonly foreign: ReadonlyArray<Problem>
}

/** Blobs read at once. */
const reading = 4
/** Digests read from the journal at once. */
const pageRows = 10_000

export const run: (options: Options) => Task = Effect.fn("reel.verify")(function* (options: Options) {
  if (!(yield* StoreFolder.exists(options.store))) return yield* new StoreMissing({ store: options.store })
  yield* Effect.provide(execute(options), StoreFolder.layer(options.store))
})

const execute = Effect.fnUntraced(function* ({ json, store }: Options) {
  const blobs = yield* BlobStore
  const journal = yield* Journal
  const screen = yield* TerminalOutput
  const damaged: Array<Problem> = []
  const missing: Array<Problem> = []
  const foreign: Array<Problem> = []
  const there = new Set<string>()
  let bytes = 0
  yield* blobs.list().pipe(
    Stream.mapEffect(
      (info) =>
        Effect.gen(function* () {
          const { sha256 } = info
          bytes += info.bytes
          there.add(sha256)
          const read = yield* Effect.result(blobs.verify({ sha256 }))
          if (read._tag === "Success") return
          const { failure } = read
          const found = { what: sha256, problem: failure.message }
          if (failure._tag === "BlobCorrupt") damaged.push(found)
          else if (failure._tag === "BlobMissing") missing.push(found)
          else if (failure._tag === "StoreUnreadable") damaged.push(found)
          else foreign.push(found)
        }),
      { concurrency: reading, unordered: true },
    ),
    Stream.runDrain,
  )
  for (let page = journal.madeArtifacts("", pageRows); page.length > 0;) {
    for (const sha256 of page) {
      if (there.has(sha256) || !LostBlobs.isMade(journal, sha256)) continue
      const problem = "results name it, and the store does not have it; run the graph again to make it anew"
      missing.push({ what: sha256, problem })
    }
    page = journal.madeArtifacts(page.at(-1)!, pageRows)
    yield* Effect.yieldNow
  }
  yield* Stream.runForEach(blobs.foreign, (name) =>
    Effect.sync(
      () => void foreign.push({ what: name, problem: "no blob has this name; move it out of the store" }),
    ),
  )
  const found: Verified = { store, checked: there.size, bytes, damaged, missing, foreign }
  if (json) screen.print(JSON.stringify(found, null, 2))
  else screen.show(lines(found))
  if (damaged.length + missing.length + foreign.length > 0)
    return yield* new ExitCode.Ended({ exitCode: ExitCode.failed })
})

const lines = ({ bytes, checked, damaged, foreign, missing, store }: Verified): ReadonlyArray<string> => {
  const told = (kind: string, problems: ReadonlyArray<Problem>) =>
    problems.map(({ problem, what }) => `${kind}  ${Format.line(what)}  ${Format.line(problem)}`)
  const bad = damaged.length + missing.length + foreign.length
  return [
    ...told("damaged", damaged),
    ...told("missing", missing),
    ...told("foreign", foreign),
    `${Format.counted(checked, "blob")} of ${store}, ${Format.bytes(bytes)}: ${bad === 0 ? "all as they should be" : Format.counted(bad, "problem")}`,
  ]
}
