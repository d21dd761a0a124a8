/**
 * Keys of the runs of this user, one file for each session in a folder of this machine (or of a home that several
 * machines share): never in the store. A driver that takes over another's jobs finds their key here, or leaves them.
 */
import {
  chmodSync,
  closeSync,
  constants,
  fstatSync,
  mkdirSync,
  openSync,
  readFileSync,
  readSync,
  rmSync,
  writeSync,
} from "node:fs"
import { hostname } from "node:os"
import { join } from "node:path"

import { StoreUnwritable } from "@reelgraph/store"
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import * as Redacted from "effect/Redacted"
import * as Schema from "effect/Schema"

import * as RunKey from "./RunKey.ts"

/** What is written down of a session. */
const File = Schema.Struct({
  /** The store that it is in: a session of the same name in another store is another one. */
  store: Schema.String,
  host: Schema.String,
  pid: Schema.Int,
  /** When the driver began, as its system tells processes of one number apart; empty: it does not. */
  began: Schema.String,
  key: Schema.String,
})

/** A driver that is known here, and the key of its run. */
export interface Known {
  readonly key: RunKey.RunKey
  /** Whether the driver lives, if it is one of this machine. */
  readonly lives: boolean | undefined
}

const decode = Schema.decodeUnknownOption(Schema.fromJsonString(File))

const sessionName = /^[A-Za-z0-9_-][\w.-]{0,127}$/u
const maxBytes = 65_536

const fileOf = (folder: string, session: string): string => join(folder, `${session}.key`)

/** When a process began, in clock ticks since boot; empty where the system does not say. */
const beganOf = (pid: number): string => {
  try {
    const stat = readFileSync(`/proc/${pid}/stat`, "latin1")
    // "pid (name) state ppid ...": the name may hold spaces and brackets.
    return stat.slice(stat.lastIndexOf(")") + 2).split(" ")[19] ?? ""
  } catch {
    return ""
  }
}

const isAlive = (pid: number, began: string): boolean => {
  try {
    process.kill(pid, 0)
  } catch (cause) {
    if ((cause as NodeJS.ErrnoException).code !== "EPERM") return false
  }
  const now = beganOf(pid)
  return began === "" || now === "" || now === began
}

/** Makes a folder that is this user's alone. */
export const privateFolder = (path: string): Effect.Effect<void, StoreUnwritable> =>
  Effect.try({
    try: () => {
      mkdirSync(path, { recursive: true, mode: 0o700 })
      chmodSync(path, 0o700)
    },
    catch: (cause) => new StoreUnwritable({ path, cause }),
  })

/** Writes down the key of a session of this process. */
export const put = (
  folder: string,
  store: string,
  session: string,
  key: RunKey.RunKey,
): Effect.Effect<void, StoreUnwritable> =>
  Effect.andThen(
    privateFolder(folder),
    Effect.try({
      try: () => {
        const { pid } = process
        const text: typeof File.Type = {
          store,
          host: hostname(),
          pid,
          began: beganOf(pid),
          key: Redacted.value(key),
        }
        const file = openSync(fileOf(folder, session), "wx", 0o600)
        try {
          writeSync(file, `${JSON.stringify(text)}\n`)
        } finally {
          closeSync(file)
        }
      },
      catch: (cause) => new StoreUnwritable({ path: fileOf(folder, session), cause }),
    }),
  )

/** The key of a session of this store; none when there is no file of it that is this user's alone. */
export const find = (folder: string, store: string, session: string): Effect.Effect<Option.Option<Known>> =>
  Effect.sync(() => {
    if (!sessionName.test(session)) return Option.none()
    const file = Option.flatMap(readOwn(fileOf(folder, session)), decode)
    return Option.flatMap(file, ({ began, host, key, pid, store: of }) => {
      const parsed = of === store ? RunKey.parse(key) : undefined
      if (parsed === undefined) return Option.none()
      return Option.some({ key: parsed, lives: host === hostname() ? isAlive(pid, began) : undefined })
    })
  })

/** Forgets a session that has ended. */
export const remove = (folder: string, session: string): Effect.Effect<void> =>
  Effect.sync(() => {
    if (sessionName.test(session)) rmSync(fileOf(folder, session), { force: true })
  })

/** A small file of this user that nobody else may read or write. */
const readOwn = (path: string): Option.Option<string> => {
  try {
    const file = openSync(path, constants.O_RDONLY | constants.O_NOFOLLOW | constants.O_NONBLOCK)
    try {
      const found = fstatSync(file)
      const own = process.getuid === undefined || found.uid === process.getuid()
      if (!found.isFile() || !own || (found.mode & 0o077) !== 0 || found.size > maxBytes) return Option.none()
      const bytes = Buffer.alloc(found.size)
      return Option.some(bytes.toString("utf8", 0, readSync(file, bytes, 0, bytes.length, 0)))
    } finally {
      closeSync(file)
    }
  } catch {
    return Option.none()
  }
}
