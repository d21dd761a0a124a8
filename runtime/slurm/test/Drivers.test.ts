/** What a driver learns of others from the store, and from what this machine itself knows. */
import fs from "node:fs"
import os, { hostname } from "node:os"
import { join } from "node:path"

import { assert, describe, it } from "@effect/vitest"
import { BlobStoreMemory, Objects } from "@reelgraph/store"
import * as Effect from "effect/Effect"
import * as Schema from "effect/Schema"
import { TestClock } from "effect/testing"

import * as Drivers from "../src/Drivers.ts"
import * as Keyring from "../src/Keyring.ts"
import * as RunNotes from "../src/RunNotes.ts"
import * as RunKey from "../src/RunKey.ts"

const keys = Effect.acquireRelease(
  Effect.sync(() => ({ folder: fs.mkdtempSync(join(os.tmpdir(), "reelgraph-keys-")), store: "/store" })),
  ({ folder }) => Effect.sync(() => fs.rmSync(folder, { recursive: true, force: true })),
)

const dead = 2 ** 22 + 1
const now = 1_800_000_000_000

const states = (
  word: unknown,
  options: { readonly key?: boolean; readonly bytes?: Uint8Array } = {},
): Effect.Effect<ReadonlyArray<Drivers.Other>> =>
  Effect.gen(function* () {
    yield* TestClock.setTime(now)
    const objects = yield* Objects
    const known = yield* keys
    if (options.key === true) yield* Keyring.put(known.folder, known.store, "other", RunKey.make())
    yield* objects.put("cluster/other/shards/x-0.json", Buffer.from("{}"))
    if (word !== undefined)
      yield* objects.put(
        "cluster/other/driver.json",
        options.bytes ?? Buffer.from(typeof word === "string" ? word : JSON.stringify(word)),
      )
    return yield* Drivers.others(objects, "own", known)
  }).pipe(Effect.scoped, Effect.provide(BlobStoreMemory.layer), Effect.orDie)

const stateOf = (...args: Parameters<typeof states>) => Effect.map(states(...args), ([other]) => other?.state)

const here = { host: hostname(), graph: "curate" }

describe("Drivers", () => {
  it.effect("live as long as they say so, on their machine only with a process", () =>
    Effect.gen(function* () {
      const [other] = yield* states({ ...here, pid: process.ppid, aliveMs: now - 20_000 })
      assert.deepInclude(other, { state: "lives", graph: "curate", pid: process.ppid, key: undefined })
      assert.strictEqual(yield* stateOf({ ...here, pid: dead, aliveMs: now }), "ended")
      assert.strictEqual(yield* stateOf({ host: "elsewhere", pid: dead, aliveMs: now - 20_000 }), "lives")
      assert.strictEqual(yield* stateOf({ host: "elsewhere", pid: dead, aliveMs: now - 100_000 }), "ended")
      assert.strictEqual(yield* stateOf({ ...here, pid: process.ppid, aliveMs: now, left: true }), "ended")
      assert.strictEqual(yield* stateOf({ ...here, pid: dead, aliveMs: now - 8 * 86_400_000 }), "forgotten")
    }),
  )

  it.effect("of this machine whose process goes on are not taken for ended, whatever the store says", () =>
    Effect.gen(function* () {
      // Such as one that has been kept busy, or somebody else's word in its name.
      assert.strictEqual(
        yield* stateOf({ ...here, pid: dead, aliveMs: now - 1_000_000 }, { key: true }),
        "lives",
      )
      assert.strictEqual(yield* stateOf(undefined, { key: true }), "lives")
    }),
  )

  it.effect("whose number another process has now are not taken for alive for ever", () =>
    Effect.gen(function* () {
      assert.strictEqual(yield* stateOf({ ...here, pid: process.ppid, aliveMs: now - 100_000 }), "ended")
    }),
  )

  it.effect.prop("say whatever they want: nobody who reads it fails", [Schema.String], ([text]) =>
    Effect.gen(function* () {
      assert.strictEqual(yield* stateOf(text), "forgotten")
      assert.strictEqual(yield* stateOf("", { bytes: new Uint8Array(70_000) }), "forgotten")
      assert.strictEqual(yield* stateOf(undefined), "forgotten")
    }),
  )
})

describe("A report", () => {
  it("says whether jobs were taken over: such a run is not compared with its simulation", () => {
    const notes = new RunNotes.RunNotes()
    notes.add("tasks were cancelled by a user, and made again", "1_2")
    assert.isFalse(RunNotes.reportTakeOver(notes.lines))
    notes.add(RunNotes.takenOver(3, "curate-1"))
    assert.isTrue(RunNotes.reportTakeOver(notes.lines))
  })
})
