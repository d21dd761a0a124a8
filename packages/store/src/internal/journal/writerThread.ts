/**
 * The journal's writer thread. Requests that wait together are committed together: one transaction, one fsync.
 */
import { existsSync } from "node:fs"
import { DatabaseSync } from "node:sqlite"
import { workerData } from "node:worker_threads"

import * as ThreadServer from "@reelgraph/threads/ThreadServer"

import { JournalWriter } from "./JournalWriter.ts"
import * as Wire from "./wire.ts"

/** Why a request was not written, as SQLite reports it. */
export interface Failure {
  readonly message: string
  readonly code: number | undefined
}

const { file, durability } = workerData as { readonly file: string; readonly durability: "full" | "normal" }

const db = new DatabaseSync(file)
db.exec(
  `PRAGMA journal_mode=WAL; PRAGMA synchronous=${durability === "full" ? "FULL" : "NORMAL"}; PRAGMA busy_timeout=30000; PRAGMA cache_size=-8192; PRAGMA wal_autocheckpoint=16384`,
)
const writer = new JournalWriter(db)

/** Requests to one transaction at most; bounds how long a commit takes. */
const largest = 512

/** SQLITE_TOOBIG, CONSTRAINT, MISMATCH, RANGE: of one request alone. A full or locked disk concerns all requests. */
const ofOneRequest = new Set([18, 19, 20, 25])

/**
 * A file that was removed, or whose file system was unmounted, accepts writes all the same, and they
 * are lost.
 */
const checkThere = (): void => {
  if (existsSync(file)) return
  const problem = "it is gone: it was removed or unmounted while it was in use; put it back and run again"
  // SQLITE_CANTOPEN: it concerns all requests, not one.
  throw Object.assign(new Error(problem), { errcode: 14 })
}

const commit = (requests: ReadonlyArray<Wire.Sent>): ReadonlyArray<ThreadServer.Outcome<Failure>> => {
  try {
    const values = writer.transact(requests.map(Wire.receive))
    checkThere()
    return requests.map((request, i) => ({ value: Wire.sendResponse(request, values[i]!) }))
  } catch (cause) {
    const { message, errcode: code } = cause as Error & { readonly errcode?: number }
    if (requests.length > 1 && (code === undefined || ofOneRequest.has(code & 0xff)))
      return requests.flatMap((request) => commit([request]))
    return requests.map(() => ({ failure: { message, code } }))
  }
}

ThreadServer.serveBatches({ largest, answer: commit, close: () => db.close() })
