/** Keys of runs: what they seal, where they are kept, and where they are not. */
import { inspect } from "node:util"

import fs from "node:fs"
import os from "node:os"
import { join } from "node:path"

import { assert, describe, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import * as Redacted from "effect/Redacted"
import * as Schema from "effect/Schema"

import * as Keyring from "../src/Keyring.ts"
import * as RunKey from "../src/RunKey.ts"

const temporary = Effect.acquireRelease(
  Effect.sync(() => fs.mkdtempSync(join(os.tmpdir(), "reelgraph-keys-"))),
  (path) => Effect.sync(() => fs.rmSync(path, { recursive: true, force: true })),
)

const Bytes = Schema.Array(Schema.Int.check(Schema.isBetween({ minimum: 0, maximum: 255 })))

describe("RunKey", () => {
  it.effect.prop("opens what it has sealed, whatever that is", [Bytes, Schema.String], ([bytes, name]) =>
    Effect.gen(function* () {
      const key = RunKey.make()
      const sealed = RunKey.seal(key, name, Uint8Array.from(bytes))
      assert.strictEqual(sealed.length, bytes.length + RunKey.sealBytes)
      assert.deepStrictEqual([...(yield* RunKey.open(key, name, sealed))], bytes)
    }),
  )

  it.effect("refuses every changed bit, every cut, other names and other keys", () =>
    Effect.gen(function* () {
      const key = RunKey.make()
      const sealed = RunKey.seal(key, "a/b", Buffer.from("calls"))
      const refused = (bytes: Uint8Array, name = "a/b", by = key) =>
        Effect.map(
          Effect.result(RunKey.open(by, name, bytes)),
          (result) => result._tag === "Failure" && result.failure._tag === "ObjectRefused",
        )
      for (let at = 0; at < sealed.length; at++) {
        for (let bit = 0; bit < 8; bit++)
          assert.isTrue(yield* refused(sealed.map((byte, i) => (i === at ? byte ^ (1 << bit) : byte))))
        assert.isTrue(yield* refused(sealed.subarray(0, at)))
      }
      assert.isTrue(yield* refused(Buffer.concat([sealed, Buffer.from([0])])))
      assert.isTrue(yield* refused(sealed, "a/c"))
      // The name and the bytes are told apart: nothing moves from one to the other.
      assert.isTrue(yield* refused(RunKey.seal(key, "a/bc", Buffer.from("alls"))))
      assert.isTrue(yield* refused(sealed, "a/b", RunKey.make()))
      assert.isFalse(yield* refused(sealed))
    }),
  )

  it("is not told by what it is printed as", () => {
    const key = RunKey.make()
    const value = Redacted.value(key)
    assert.match(value, /^[0-9a-f]{64}$/u)
    assert.notInclude(`${inspect(key)} ${JSON.stringify(key)} ${JSON.stringify({ key })}`, value)
    assert.isUndefined(RunKey.parse(value.slice(1)))
    assert.isUndefined(RunKey.parse(""))
  })
})

describe("Keyring", () => {
  const found = (folder: string, store = "/store", session = "s-1") =>
    Effect.map(Keyring.find(folder, store, session), (known) =>
      Option.getOrUndefined(Option.map(known, ({ key }) => Redacted.value(key))),
    )

  it.effect("keeps keys for this user alone, whatever the umask, and only for their store", () =>
    Effect.gen(function* () {
      const folder = join(yield* temporary, "cache", "keys")
      const key = RunKey.make()
      const umask = process.umask(0)
      yield* Effect.ensuring(
        Keyring.put(folder, "/store", "s-1", key),
        Effect.sync(() => process.umask(umask)),
      )
      assert.strictEqual(fs.statSync(folder).mode & 0o777, 0o700)
      assert.strictEqual(fs.statSync(join(folder, "s-1.key")).mode & 0o777, 0o600)
      assert.strictEqual(yield* found(folder), Redacted.value(key))
      assert.isUndefined(yield* found(folder, "/another"))
      assert.isUndefined(yield* found(folder, "/store", "s-2"))
      assert.isTrue(Option.getOrThrow(yield* Keyring.find(folder, "/store", "s-1")).lives)
      yield* Keyring.remove(folder, "s-1")
      assert.isUndefined(yield* found(folder))
    }).pipe(Effect.scoped),
  )

  it.effect("reads no file that others can read or write, no link, and no name that leads elsewhere", () =>
    Effect.gen(function* () {
      const folder = yield* temporary
      yield* Keyring.put(folder, "/store", "s-1", RunKey.make())
      const file = join(folder, "s-1.key")
      for (const mode of [0o640, 0o604, 0o620, 0o602]) {
        fs.chmodSync(file, mode)
        assert.isUndefined(yield* found(folder))
      }
      fs.chmodSync(file, 0o600)
      fs.symlinkSync(file, join(folder, "s-2.key"))
      assert.isUndefined(yield* found(folder, "/store", "s-2"))
      fs.mkdirSync(join(folder, "below"))
      assert.isUndefined(yield* found(join(folder, "below"), "/store", "../s-1"))
      fs.writeFileSync(file, "{}")
      assert.isUndefined(yield* found(folder))
      fs.writeFileSync(file, "x".repeat(100_000))
      assert.isUndefined(yield* found(folder))
    }).pipe(Effect.scoped),
  )
})
