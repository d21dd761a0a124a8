/**
 * Drivers of a store, by what they write into it: `cluster/SESSION/driver.json`, again and again while they live. A
 * session whose driver has ended without a word is taken over by the next.
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

import * as Order from "./Order.ts"

type Service = typeof Objects.Service

export type SessionError = ObjectNameInvalid | ObjectTooLarge | PutError | StoreUnreadable

/** A driver's word that it lives. */
const Driver = Schema.Struct({
  host: Schema.String,
  pid: Schema.Int,
  /** By its clock, in milliseconds since the epoch. */
  aliveMs: Schema.Finite,
  /** It has left its jobs to whoever comes next. */
  left: Schema.optionalKey(Schema.Boolean),
})
type Driver = typeof Driver.Type

const decode = Schema.decodeUnknownOption(Schema.fromJsonString(Driver))

/** How often a driver says that it lives, and after how long without a word it is taken for dead. */
const everyMs = 15_000
const silentMs = 90_000

const nameOf = (session: string): string => `${Order.folder(session)}/driver.json`

const put = (objects: Service, session: string, driver: Driver) =>
  objects.put(nameOf(session), Buffer.from(JSON.stringify(driver)))

/** Says that a driver lives, now and as long as the scope is open. */
export const begin = (
  objects: Service,
  session: string,
  who: { readonly host: string; readonly pid: number },
) =>
  Effect.gen(function* () {
    const alive = Effect.flatMap(Clock.currentTimeMillis, (aliveMs) =>
      put(objects, session, { ...who, aliveMs }),
    )
    yield* alive
    yield* Effect.forkScoped(Effect.forever(Effect.andThen(Effect.sleep(everyMs), Effect.ignore(alive))))
  })

/** Sessions of drivers that have ended and left something. */
export const abandoned = (
  objects: Service,
  own: string,
): Effect.Effect<ReadonlyArray<string>, SessionError> =>
  Effect.gen(function* () {
    const names = yield* Stream.runCollect(objects.list("cluster"))
    const sessions = new Set(names.flatMap((name) => name.split("/")[1] ?? []))
    sessions.delete(own)
    const now = yield* Clock.currentTimeMillis
    const found: Array<string> = []
    for (const session of sessions) {
      const bytes = Option.getOrUndefined(yield* objects.get(nameOf(session)))
      const driver =
        bytes === undefined ? undefined : Option.getOrUndefined(decode(Buffer.from(bytes).toString("utf8")))
      if (driver === undefined || driver.left === true || !lives(driver, now)) found.push(session)
    }
    return found.toSorted()
  })

const lives = ({ aliveMs, host, pid }: Driver, now: number): boolean => {
  if (host !== hostname()) return now - aliveMs < silentMs
  try {
    process.kill(pid, 0)
    return pid !== process.pid
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
  Stream.runForEach(objects.list(Order.folder(session)), (name) => objects.remove(name))
