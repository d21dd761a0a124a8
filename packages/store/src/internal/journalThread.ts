/**
 * The journal's writer thread. Requests that wait together are committed together: one transaction, one fsync.
 */
import { DatabaseSync } from "node:sqlite"
import { parentPort, receiveMessageOnPort, workerData } from "node:worker_threads"

import { JournalWriter, type Request, type Response } from "./JournalWriter.ts"

export interface Envelope {
  readonly id: number
  readonly request: Request
}

export type Reply =
  | { readonly id: number; readonly value: Response[Request["_tag"]] }
  | { readonly id: number; readonly error: { readonly message: string; readonly code: number | undefined } }

const port = parentPort!
const { file, durability } = workerData as { readonly file: string; readonly durability: "full" | "normal" }

const db = new DatabaseSync(file)
db.exec(
  `PRAGMA journal_mode=WAL; PRAGMA synchronous=${durability === "full" ? "FULL" : "NORMAL"}; PRAGMA busy_timeout=30000; PRAGMA cache_size=-16384; PRAGMA wal_autocheckpoint=16384`,
)
const writer = new JournalWriter(db)

/** Requests to one transaction at most; bounds how long a commit takes. */
const largest = 512

const commit = (batch: ReadonlyArray<Envelope>): ReadonlyArray<Reply> => {
  try {
    const values = writer.transact(batch.map(({ request }) => request))
    return batch.map(({ id }, i) => ({ id, value: values[i]! }))
  } catch (cause) {
    if (batch.length > 1) return batch.flatMap((envelope) => commit([envelope]))
    const { message } = cause as Error
    return [{ id: batch[0]!.id, error: { message, code: (cause as { readonly errcode?: number }).errcode } }]
  }
}

port.on("message", (first: Envelope | "close") => {
  const batch: Array<Envelope> = []
  let next: Envelope | "close" | undefined = first
  while (next !== undefined && next !== "close") {
    batch.push(next)
    next =
      batch.length < largest
        ? (receiveMessageOnPort(port)?.message as Envelope | "close" | undefined)
        : undefined
  }
  if (batch.length > 0) port.postMessage(commit(batch))
  if (next === "close") {
    db.close()
    port.close()
  }
})
