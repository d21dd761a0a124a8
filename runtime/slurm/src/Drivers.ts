/**
 * Drivers of a store, by what they write into it: `cluster/SESSION/driver.json`, again and again while they live. A
 * session whose driver has ended without removing it is taken over by the next.
 */
import { hostname } from "node:os"

import {
  Objects,
  type ObjectNameInvalid,
  type ObjectTooLarge,
  type PutError,
  type StoreUnreadable,
} from "@reelgraph/store"
import * as Clock from "effect/Clock"
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import * as Schema from "effect/Schema"
import * as Stream from "effect/Stream"

import * as Keyring from "./Keyring.ts"
import * as SessionObjects from "./SessionObjects.ts"
import type * as RunKey from "./RunKey.ts"

type Service = typeof Objects.Service

export type SessionError = ObjectNameInvalid | ObjectTooLarge | PutError | StoreUnreadable

/**
 * A driver's heartbeat. It is not sealed, so that every driver can read it, and nothing is trusted for it: a forged one
 * can make a driver report a run that does not exist, or keep it from taking a session over.
 */
const Driver = Schema.Struct({
  host: Schema.String,
  pid: Schema.Int,
  /** By its clock, in milliseconds since the epoch. */
  aliveMs: Schema.Finite,
  /** What it runs. */
  graph: Schema.optionalKey(Schema.String.check(Schema.isMaxLength(200))),
  /** It has left its jobs to whoever comes next. */
  left: Schema.optionalKey(Schema.Boolean),
})
type Driver = typeof Driver.Type

const decode = Schema.decodeUnknownOption(Schema.fromJsonString(Driver))

/** The interval of heartbeats, and the time without one after which a driver is taken for dead. */
const everyMs = 15_000
const silentMs = 90_000
/** After so long without a heartbeat what a driver has left is removed, though nobody could take it over. */
const forgottenMs = 7 * 24 * 3_600_000
/** Of `driver.json`. */
const maxBytes = 65_536

const nameOf = (session: string): string => `${SessionObjects.folder(session)}/driver.json`

const put = (objects: Service, session: string, driver: Driver) =>
  objects.put(nameOf(session), Buffer.from(JSON.stringify(driver)))

/** Writes heartbeats of a driver, now and as long as the scope is open. */
export const begin = (
  objects: Service,
  session: string,
  who: { readonly host: string; readonly pid: number; readonly graph: string },
) =>
  Effect.gen(function* () {
    const alive = Effect.flatMap(Clock.currentTimeMillis, (aliveMs) =>
      put(objects, session, { ...who, aliveMs }),
    )
    yield* alive
    yield* Effect.forkScoped(Effect.forever(Effect.andThen(Effect.sleep(everyMs), Effect.ignore(alive))))
  })

/** Another session of a store. */
export interface Other {
  readonly session: string
  /** Its driver lives, is known to have ended, or has been silent for days. */
  readonly state: "lives" | "ended" | "forgotten"
  /** As its driver reports it. */
  readonly graph: string | undefined
  readonly host: string
  readonly pid: number
  /** The key of its run, where this user has it on this machine. */
  readonly key: RunKey.RunKey | undefined
}

/** The other sessions of a store, sorted. */
export const others = (
  objects: Service,
  own: string,
  keys: { readonly folder: string; readonly store: string },
): Effect.Effect<ReadonlyArray<Other>, SessionError> =>
  Effect.gen(function* () {
    const names = yield* Stream.runCollect(objects.list("cluster"))
    const sessions = new Set(names.flatMap((name) => name.split("/")[1] ?? []))
    sessions.delete(own)
    const now = yield* Clock.currentTimeMillis
    return yield* Effect.forEach([...sessions].toSorted(), (session) =>
      Effect.gen(function* () {
        // One that is too large is as good as none.
        const bytes = yield* Effect.catchTag(
          objects.get(nameOf(session), { maxBytes }),
          "ObjectTooLarge",
          () => Effect.succeed(Option.none<Uint8Array>()),
        )
        const driver = Option.getOrUndefined(
          Option.flatMap(bytes, (found) => decode(Buffer.from(found).toString("utf8"))),
        )
        const known = Option.getOrUndefined(yield* Keyring.find(keys.folder, keys.store, session))
        return {
          session,
          state: stateOf(driver, known, now),
          graph: driver?.graph,
          host: driver?.host ?? "",
          pid: driver?.pid ?? 0,
          key: known?.key,
        }
      }),
    )
  })

const stateOf = (
  driver: Driver | undefined,
  known: Keyring.Known | undefined,
  now: number,
): Other["state"] => {
  // What this machine itself knows goes first: anybody may have written into the store.
  if (known?.lives === true && driver?.left !== true) return "lives"
  // Of a session whose end was written down, workers may still have written something.
  if (driver === undefined) return known === undefined ? "forgotten" : "ended"
  if (now - driver.aliveMs > forgottenMs) return "forgotten"
  if (known?.lives === false || driver.left === true) return "ended"
  return lives(driver, now) ? "lives" : "ended"
}

const lives = ({ aliveMs, host, pid }: Driver, now: number): boolean => {
  if (now - aliveMs < silentMs) return host !== hostname() || pid === process.pid || isProcess(pid)
  return false
}

const isProcess = (pid: number): boolean => {
  try {
    process.kill(pid, 0)
    return true
  } catch (cause) {
    return (cause as NodeJS.ErrnoException).code === "EPERM"
  }
}

/** Leaves a session to whoever comes next. */
export const leave = (objects: Service, session: string): Effect.Effect<void, SessionError> =>
  Effect.flatMap(Clock.currentTimeMillis, (aliveMs) =>
    put(objects, session, { host: "", pid: 0, aliveMs, left: true }),
  )

/** Removes all that a session has in the store. */
export const end = (objects: Service, session: string): Effect.Effect<void, SessionError> =>
  Stream.runForEach(objects.list(SessionObjects.folder(session)), (name) => objects.remove(name))
