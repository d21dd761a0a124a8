/**
 * The thread that writes and reads segments, on a connection of its own: neither the thread that runs graphs nor
 * the one that commits waits for it, but for the transaction of an import.
 */
import { DatabaseSync } from "node:sqlite"
import { workerData } from "node:worker_threads"

import * as ThreadServer from "@reelgraph/threads/ThreadServer"

import { SegmentDamaged, SegmentNewer } from "../../journal/JournalSegment.ts"
import * as Export from "./export.ts"
import * as Import from "./import.ts"
import * as Problem from "./problem.ts"

export type Request =
  | { readonly _tag: "Next"; readonly nowMs: number; readonly size: number | undefined }
  | { readonly _tag: "Exported"; readonly mark: Export.Mark }
  | { readonly _tag: "Import"; readonly name: string; readonly bytes: Uint8Array<ArrayBuffer> }
  | { readonly _tag: "Unseen"; readonly names: ReadonlyArray<string> }
  | { readonly _tag: "Incomplete" }

export interface Response {
  readonly Next: Export.Next | undefined
  readonly Exported: undefined
  readonly Import: number
  readonly Unseen: ReadonlyArray<string>
  readonly Incomplete: ReadonlyArray<string>
}

/** Errors as they travel. */
export type Failure =
  | { readonly _tag: "SegmentDamaged"; readonly segment: string; readonly problem: string }
  | {
      readonly _tag: "SegmentNewer"
      readonly segment: string
      readonly found: number
      readonly supported: number
    }
  | { readonly _tag: "Other"; readonly problem: string }

const { file } = workerData as { readonly file: string }

const db = new DatabaseSync(file)
// What a power cut takes from here is in the store, and comes again.
db.exec(
  "PRAGMA busy_timeout=30000; PRAGMA journal_mode=WAL; PRAGMA synchronous=NORMAL; PRAGMA cache_size=-8192",
)
Export.begin(db)

const answer = (request: Request): Response[Request["_tag"]] => {
  switch (request._tag) {
    case "Next":
      return Export.next(db, {
        nowMs: request.nowMs,
        ...(request.size === undefined ? {} : { size: request.size }),
      })
    case "Exported":
      return Export.exported(db, request.mark) as undefined
    case "Import":
      return Import.importSegment(db, request.name, request.bytes)
    case "Unseen":
      return Import.unseen(db, request.names)
    case "Incomplete":
      return Import.incomplete(db)
  }
}

const failureOf = (cause: unknown): Failure => {
  if (cause instanceof SegmentDamaged)
    return { _tag: "SegmentDamaged", segment: cause.segment, problem: cause.problem }
  if (cause instanceof SegmentNewer)
    return { _tag: "SegmentNewer", segment: cause.segment, found: cause.found, supported: cause.supported }
  return { _tag: "Other", problem: Problem.of(cause, file) }
}

ThreadServer.serve({ answer, failureOf, close: () => db.close() })
