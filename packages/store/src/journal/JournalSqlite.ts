/**
 * The journal in a SQLite file (node:sqlite): written by a thread with group commit in WAL mode, read by a
 * connection on this thread. Several processes may work on one file at once.
 */
import { closeSync, existsSync, mkdirSync, openSync, statSync } from "node:fs"
import { dirname } from "node:path"
import { DatabaseSync } from "node:sqlite"

import { ThreadClient, ThreadLost } from "@reelgraph/threads"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"

import { Journal, JournalError, JournalNewer } from "./Journal.ts"
import * as Problem from "../internal/journal/problem.ts"
import * as Reading from "../internal/journal/readOnly.ts"
import * as Reader from "../internal/journal/reader.ts"
import * as Tables from "../internal/journal/schema.ts"
import type { Failure } from "../internal/journal/writerThread.ts"
import { JournalWriter, type Request, type Response } from "../internal/journal/JournalWriter.ts"
import { modesIn, ownModes } from "../internal/folder/modes.ts"
import * as Wire from "../internal/journal/wire.ts"

type Send = <R extends Request>(
  request: R,
  action: string,
) => Effect.Effect<Response[R["_tag"]], JournalError>

const serviceOf = (file: string, db: DatabaseSync, send: Send) =>
  Journal.of({
    file,
    ...Reader.make(db, file),
    beginRun: (row) => send({ _tag: "BeginRun", row }, "written"),
    endRun: (run, end) => Effect.asVoid(send({ _tag: "EndRun", run, end }, "written")),
    operator: (row) => send({ _tag: "Operator", row }, "written"),
    items: (run, port, items) => send({ _tag: "Items", run, port, items }, "written"),
    outputs: (run, port, items) => Effect.asVoid(send({ _tag: "Outputs", run, port, items }, "written")),
    set: (digest, members) => send({ _tag: "Set", digest, members }, "written"),
    calls: (run, node, rows) => send({ _tag: "Calls", run, node, rows }, "written"),
    hits: (run, node, calls) => Effect.asVoid(send({ _tag: "Hits", run, node, calls }, "written")),
  })

/** Creates the tables in a new database, brings an older one to this format, and refuses one of a later format. */
const prepare = (db: DatabaseSync, file: string): void => {
  db.exec("PRAGMA busy_timeout=30000; PRAGMA journal_mode=WAL")
  db.exec("BEGIN IMMEDIATE")
  const found = db.prepare("PRAGMA user_version").get()!["user_version"] as number
  for (const step of Tables.steps.slice(found)) db.exec(step)
  if (found < Tables.version) db.exec(`PRAGMA user_version=${Tables.version}`)
  db.exec("COMMIT")
  if (found > Tables.version) throw new JournalNewer({ file, found, supported: Tables.version })
}

/** SQLite gives its other files the permissions of the first; by itself it leaves those to the umask. */
const makeFile = (file: string): void => {
  const folder = dirname(file)
  mkdirSync(folder, { recursive: true, mode: ownModes.folder })
  if (existsSync(file)) return
  // Another process may make it at the same time.
  closeSync(openSync(file, "a", modesIn(statSync(folder).mode).file))
}

const openError = (file: string) => (cause: unknown) =>
  cause instanceof JournalNewer
    ? cause
    : new JournalError({ file, action: "opened", problem: Problem.of(cause, file) })

/** `named` is the file in messages: another one, when `file` is a copy. */
const open = (file: string, named = file): Effect.Effect<DatabaseSync, JournalError | JournalNewer> =>
  Effect.try({
    try: () => {
      if (file !== ":memory:") makeFile(file)
      const db = new DatabaseSync(file)
      try {
        prepare(db, named)
        return db
      } catch (cause) {
        db.close()
        throw cause
      }
    },
    catch: openError(named),
  })

const closing = <E, R>(open: Effect.Effect<DatabaseSync, E, R>) =>
  Effect.acquireRelease(open, (db) => Effect.sync(() => db.close()))

const opened = (file: string) => closing(open(file))

/** A thread that writes, and the function that asks it to. */
const writerThread = (file: string, durability: "full" | "normal") =>
  Effect.gen(function* () {
    const writer = yield* ThreadClient.scoped<Wire.Sent, Wire.Responses, Failure, JournalError>({
      name: "the journal's writer",
      module: new URL("../internal/journal/writerThread.ts", import.meta.url),
      data: { file, durability },
      // What it handles is short-lived and small: without a bound V8 grows the space for it to 48 MB.
      resourceLimits: { maxYoungGenerationSizeMb: 8 },
      errorOf: (cause) => {
        const problem =
          cause instanceof ThreadLost
            ? cause.message
            : Problem.of(Object.assign(new Error(cause.message), { errcode: cause.code }), file)
        return new JournalError({ file, action: "written", problem })
      },
    })
    const send: Send = (request) =>
      Effect.uninterruptible(
        Effect.map(
          Effect.suspend(() => writer.ask(Wire.send(request))),
          (value) => Wire.receiveResponse(request, value) as any,
        ),
      )
    return send
  })

/**
 * The journal in a file, created when it is missing.
 *
 * `durability` `full` survives a power cut; `normal` survives the end of the process, not of the machine.
 */
export const layer = (
  file: string,
  options: { readonly durability?: "full" | "normal" } = {},
): Layer.Layer<Journal, JournalError | JournalNewer> =>
  Layer.effect(
    Journal,
    Effect.gen(function* () {
      const db = yield* opened(file)
      const send = yield* writerThread(file, options.durability ?? "full")
      return serviceOf(file, db, send)
    }),
  )

/**
 * The journal in a file, for reading alone: nothing can be written through it. The file may be one that this user cannot
 * write, on a mount that is read-only or in the folder of another user; see `internal/journal/readOnly.ts`.
 * One of an earlier format is brought to this one, in place where that may be; an empty one is made where there is none.
 */
export const layerReading = (file: string): Layer.Layer<Journal, JournalError | JournalNewer> =>
  Layer.effect(
    Journal,
    Effect.gen(function* () {
      const refuse: Send = (_, action) =>
        Effect.fail(new JournalError({ file, action, problem: "it is open for reading alone" }))
      if (!existsSync(file) || Reading.isWritable(file)) return serviceOf(file, yield* opened(file), refuse)
      const found = yield* Reading.open(file, Tables.version)
      const db = yield* closing(found.db === undefined ? open(found.path, file) : Effect.succeed(found.db))
      const version = Reading.versionOf(db)
      if (version > Tables.version)
        return yield* new JournalNewer({ file, found: version, supported: Tables.version })
      return serviceOf(file, db, refuse)
    }),
  )

/** A journal that is gone when the scope ends. */
export const layerMemory: Layer.Layer<Journal, JournalError | JournalNewer> = Layer.effect(
  Journal,
  Effect.gen(function* () {
    const file = ":memory:"
    const db = yield* opened(file)
    const writer = new JournalWriter(db)
    const send: Send = (request, action) =>
      Effect.try({
        try: () => writer.transact([request])[0] as any,
        catch: (cause) => new JournalError({ file, action, problem: (cause as Error).message }),
      })
    return serviceOf(file, db, send)
  }),
)
