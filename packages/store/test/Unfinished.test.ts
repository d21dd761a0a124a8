import { spawn } from "node:child_process"
import fs from "node:fs"
import os from "node:os"
import { dirname, join } from "node:path"
import { fileURLToPath } from "node:url"
import { afterAll, assert, beforeAll, describe, it, vi } from "@effect/vitest"
import { Effect, Fiber, Layer } from "effect"
import { TestClock } from "effect/testing"
import { BlobStoreFs, BlobStoreMemory, BlobStoreS3, Unfinished } from "../src/index.ts"
import { uniqueName } from "../src/internal/processIdentity.ts"
import * as S3 from "./s3.ts"

const key = "0123456789abcdef".repeat(4)
const other = "f".repeat(64)

const temporary = Effect.acquireRelease(
  Effect.sync(() => fs.mkdtempSync(join(os.tmpdir(), "reelgraph-test-"))),
  (path) => Effect.sync(() => fs.rmSync(path, { recursive: true, force: true })),
)

// Nothing waits for it, and others work here too.
vi.setConfig({ testTimeout: 60_000 })

let server: S3.Server
beforeAll(async () => void (server = await S3.start()))
afterAll(() => server.close())
let stores = 0

/** The store of a prefix as a machine with this cache sees it. */
const bucketOf = (prefix: string, cache: string, saveEveryMs = 30_000) =>
  BlobStoreS3.layer(server.location(prefix), { cache, durability: "none", pauseMs: 1, saveEveryMs })

const layerOf = (root: string) => BlobStoreFs.layer(root, { durability: "none" })

const laws = (
  name: string,
  layer: Effect.Effect<Layer.Layer<Unfinished, { readonly _tag: string }>, never, any>,
  durable: boolean,
) => {
  const within = <A, E>(body: (service: Unfinished["Service"]) => Effect.Effect<A, E, any>) =>
    Effect.gen(function* () {
      const made = yield* layer
      const result = yield* Effect.provide(
        Unfinished.use((service) => body(service)),
        made,
      )
      return { made, result }
    }) as Effect.Effect<{ made: Layer.Layer<Unfinished, { readonly _tag: string }>; result: A }, any, any>

  describe(`unfinished work in ${name}`, () => {
    it.live(
      "keeps what an earlier use left, until it is discarded",
      () =>
        Effect.gen(function* () {
          const { made, result } = yield* within(({ discard, list, use }) =>
            Effect.gen(function* () {
              assert.deepStrictEqual(yield* list, [])
              const first = yield* Effect.scoped(
                Effect.tap(use(key), (path) =>
                  Effect.sync(() => {
                    assert.deepStrictEqual(fs.readdirSync(path), [])
                    fs.mkdirSync(join(path, "deep"))
                    fs.writeFileSync(join(path, "deep", "file"), "12345")
                  }),
                ),
              )
              const [info, ...more] = yield* list
              assert.deepInclude(info, { key, bytes: 5 })
              assert.closeTo(info!.modified, fs.statSync(first).mtimeMs, 60_000)
              assert.deepStrictEqual(more, [])
              yield* Effect.scoped(
                Effect.gen(function* () {
                  const again = yield* use(key)
                  assert.strictEqual(again, first)
                  assert.strictEqual(fs.readFileSync(join(again, "deep", "file"), "utf8"), "12345")
                  assert.notStrictEqual(yield* use(other), again)
                  yield* discard(other)
                  assert.deepStrictEqual(
                    (yield* list).map((one) => one.key),
                    [key],
                  )
                }),
              )
              return first
            }),
          )
          if (!durable) return assert.isFalse(fs.existsSync(result))
          yield* Effect.gen(function* () {
            const { discard, list, use } = yield* Unfinished
            assert.deepStrictEqual(
              (yield* list).map((one) => one.key),
              [key],
            )
            yield* discard(key)
            yield* discard(key)
            assert.deepStrictEqual(yield* list, [])
            assert.deepStrictEqual(fs.readdirSync(yield* use(key)), [])
          }).pipe(Effect.scoped, Effect.provide(made))
        }),
      180_000,
    )

    it.effect("refuses keys that are no digests, and makes nothing of them", () =>
      within(({ discard, list, share, use }) =>
        Effect.gen(function* () {
          const wrong = [
            "",
            "..",
            "../../etc",
            "A".repeat(64),
            `${"a".repeat(63)}/`,
            `${key}\n`,
            "a".repeat(65),
          ]
          for (const value of [...wrong, undefined as unknown as string]) {
            assert.strictEqual((yield* Effect.flip(use(value)))._tag, "DigestInvalid")
            assert.strictEqual((yield* Effect.flip(share(value)))._tag, "DigestInvalid")
            assert.strictEqual((yield* Effect.flip(discard(value)))._tag, "DigestInvalid")
          }
          assert.deepStrictEqual(yield* list, [])
        }),
      ),
    )

    it.live(
      "is one user's at a time",
      () =>
        within(({ discard, list, use }) =>
          Effect.gen(function* () {
            let users = 0
            const one = Effect.gen(function* () {
              const path = yield* use(key)
              assert.strictEqual(++users, 1)
              yield* Effect.sleep(2)
              fs.appendFileSync(join(path, "log"), "x")
              users--
            }).pipe(Effect.scoped)
            yield* Effect.all([one, one, one, one], { concurrency: "unbounded" })
            assert.strictEqual((yield* list)[0]!.bytes, 4)
            yield* discard(key)
          }),
        ),
      180_000,
    )

    it.live(
      "is shared by those who work with its user, and holds up nobody then",
      () =>
        within(({ discard, share, use }) =>
          Effect.gen(function* () {
            const early = yield* share(key)
            yield* Effect.scoped(
              Effect.gen(function* () {
                const path = yield* use(key)
                fs.writeFileSync(join(path, "left"), "by the first")
                assert.strictEqual(yield* share(key), path)
                assert.strictEqual(early, path)
                assert.strictEqual(fs.readFileSync(join(path, "left"), "utf8"), "by the first")
              }),
            )
            yield* share(key)
            yield* Effect.scoped(use(key))
            yield* discard(key)
          }),
        ),
      180_000,
    )
  })
}

laws(
  "a folder",
  Effect.map(temporary, (folder) => layerOf(join(folder, "store"))),
  true,
)
laws(
  "a bucket",
  Effect.map(temporary, (folder) => {
    const prefix = `unfinished/${stores++}`
    return Layer.suspend(() => bucketOf(prefix, join(folder, "cache")))
  }),
  true,
)
laws("memory", Effect.succeed(BlobStoreMemory.layer), false)

describe("unfinished work", () => {
  const main = fileURLToPath(new URL("./user.ts", import.meta.url))
  const start = (root: string, task: string) => {
    const args = [main, root, key, task]
    return spawn(process.execPath, args, { stdio: ["ignore", "pipe", "inherit"] })
  }

  it.effect(
    "of a living process is refused by name, of a killed one taken over",
    () =>
      Effect.gen(function* () {
        const root = join(yield* temporary, "store")
        const child = yield* Effect.acquireRelease(
          Effect.sync(() => start(root, "hold")),
          (process) => Effect.sync(() => process.kill("SIGKILL")),
        )
        yield* Effect.callback<void>((resume) => void child.stdout.once("data", () => resume(Effect.void)))
        yield* Effect.gen(function* () {
          const { discard, use } = yield* Unfinished
          for (const attempt of [Effect.scoped(use(key)), discard(key)]) {
            const fiber = yield* Effect.forkChild(Effect.flip(attempt as Effect.Effect<void, any>))
            yield* TestClock.adjust("6 seconds")
            const error = yield* Fiber.join(fiber)
            assert.strictEqual(error._tag, "UnfinishedInUse")
            assert.isTrue(error.retryable)
            assert.include(error.message, `in use by process ${child.pid};`)
            assert.isTrue(fs.existsSync(error.claim))
          }
          const ended = Effect.callback<void>((resume) => void child.once("exit", () => resume(Effect.void)))
          child.kill("SIGKILL")
          yield* ended
          const path = yield* use(key)
          assert.strictEqual(fs.readFileSync(join(path, "left"), "utf8"), "by the first")
          // The folder and one claim: its own.
          assert.strictEqual(fs.readdirSync(dirname(path)).length, 2)
        }).pipe(Effect.scoped, Effect.provide(layerOf(root)))
        assert.deepStrictEqual(fs.readdirSync(join(root, "unfinished")), [key])
      }),
    180_000,
  )

  it.live(
    "is one process's at a time, whoever comes when",
    () =>
      Effect.gen(function* () {
        const root = join(yield* temporary, "store")
        yield* Effect.provide(Effect.void, layerOf(root))
        const run = Effect.callback<number | null>((resume) => {
          const child = start(root, "20")
          child.once("exit", (code) => resume(Effect.succeed(code)))
          return Effect.sync(() => child.kill("SIGKILL"))
        })
        assert.deepStrictEqual(yield* Effect.all([run, run, run], { concurrency: "unbounded" }), [0, 0, 0])
        assert.strictEqual(fs.readFileSync(join(root, "unfinished", key, "count"), "utf8"), "60")
      }),
    180_000,
  )

  it.effect("claimed under a process id that another process has by now is taken over", () =>
    Effect.gen(function* () {
      const root = join(yield* temporary, "store")
      fs.mkdirSync(join(root, "unfinished"), { recursive: true })
      const [place, pid, began, ...rest] = uniqueName().split(".")
      // Only Linux tells when a process began.
      if (began === "0") return
      fs.writeFileSync(join(root, "unfinished", [key, place, pid, `${began}1`, ...rest].join(".")), "")
      fs.writeFileSync(join(root, "store.json"), '{"format":"reelgraph-store","version":1}')
      yield* Effect.provide(
        Unfinished.use(({ use }) => Effect.scoped(use(key))),
        layerOf(root),
      )
    }),
  )

  it.effect("claimed on another machine is waited for until the claim is made new, or is old", () =>
    Effect.gen(function* () {
      const root = join(yield* temporary, "store")
      yield* Effect.gen(function* () {
        const { use } = yield* Unfinished
        fs.mkdirSync(join(root, "unfinished"))
        const claim = join(root, "unfinished", `${key}.deadbeef.1.1.0.0`)
        fs.writeFileSync(claim, "")
        const fiber = yield* Effect.forkChild(Effect.flip(Effect.scoped(use(key))))
        yield* TestClock.adjust("10 seconds")
        assert.isUndefined(fiber.pollUnsafe())
        fs.utimesSync(claim, Date.now() / 1000 + 1, Date.now() / 1000 + 1)
        yield* TestClock.adjust("2 seconds")
        assert.include((yield* Fiber.join(fiber)).message, "another machine or container")
        const second = yield* Effect.forkChild(use(key))
        yield* TestClock.adjust("100 seconds")
        assert.isUndefined(second.pollUnsafe())
        // Three minutes of silence, by the clock of the file system.
        const long = Date.now() / 1000 - 181
        fs.utimesSync(claim, long, long)
        yield* TestClock.adjust("2 seconds")
        const path = yield* Fiber.join(second)
        assert.isFalse(fs.existsSync(claim))
        // Its own is made new again and again.
        const own = join(
          root,
          "unfinished",
          fs.readdirSync(dirname(path)).find((name) => name !== key)!,
        )
        fs.utimesSync(own, long, long)
        yield* TestClock.adjust("21 seconds")
        assert.isAbove(fs.statSync(own).mtimeMs / 1000, long + 60)
      }).pipe(Effect.scoped, Effect.provide(layerOf(root)))
    }),
  )
})

describe("unfinished work in a bucket", () => {
  const within = <A, E>(
    prefix: string,
    cache: string,
    body: (service: Unfinished["Service"]) => Effect.Effect<A, E, any>,
    saveEveryMs?: number,
  ) =>
    Effect.provide(
      Effect.scoped(Unfinished.use((service) => body(service))),
      Layer.fresh(bucketOf(prefix, cache, saveEveryMs)),
    ) as Effect.Effect<A, any>

  it.live("another machine goes on where one left it, and the first sees what it did", () =>
    Effect.gen(function* () {
      const folder = yield* temporary
      const prefix = `unfinished/${stores++}`
      const [here, there] = [join(folder, "here"), join(folder, "there")]
      yield* within(prefix, here, ({ use }) =>
        Effect.map(use(key), (path) => {
          fs.mkdirSync(join(path, "deep"))
          fs.writeFileSync(join(path, "deep/weights ü"), "one")
          fs.writeFileSync(join(path, "log"), "old")
        }),
      )
      yield* within(prefix, there, ({ list, use }) =>
        Effect.gen(function* () {
          assert.deepInclude((yield* list)[0], { key, bytes: 6 })
          const path = yield* use(key)
          assert.strictEqual(fs.readFileSync(join(path, "deep/weights ü"), "utf8"), "one")
          fs.writeFileSync(join(path, "deep/weights ü"), "two")
          fs.rmSync(join(path, "log"))
        }),
      )
      yield* within(prefix, here, ({ discard, use }) =>
        Effect.gen(function* () {
          const path = yield* use(key)
          assert.strictEqual(fs.readFileSync(join(path, "deep/weights ü"), "utf8"), "two")
          assert.isFalse(fs.existsSync(join(path, "log")))
          yield* discard(key)
        }),
      )
      // Done there: what is left of it here is not gone on with, and nothing of it is in the bucket.
      yield* within(prefix, there, ({ list, use }) =>
        Effect.gen(function* () {
          assert.deepEqual(yield* list, [])
          assert.deepEqual(fs.readdirSync(yield* use(key)), [])
        }),
      )
      const kept = fs.readdirSync(dirname(server.pathOf(`${prefix}/unfinished/${key}/saved.json`)))
      assert.deepEqual(
        kept.filter((name) => !name.startsWith("saved.json")),
        [],
      )
    }),
  )

  it.live(
    "is saved while it is worked on, and newer here than there after a process was killed",
    () =>
      Effect.gen(function* () {
        const folder = yield* temporary
        const prefix = `unfinished/${stores++}`
        const cache = join(folder, "here")
        const user = fileURLToPath(new URL("./bucketUser.ts", import.meta.url))
        const child = yield* Effect.acquireRelease(
          Effect.sync(() =>
            spawn(process.execPath, [user, server.endpoint, prefix, cache, key], {
              stdio: ["ignore", "pipe", "inherit"],
            }),
          ),
          (process) => Effect.sync(() => process.kill("SIGKILL")),
        )
        // It has been saved once, and changed since.
        yield* Effect.callback<void>((resume) => void child.stdout.once("data", () => resume(Effect.void)))
        const other = yield* Effect.flip(within(prefix, join(folder, "there"), ({ use }) => use(key)))
        assert.strictEqual(other._tag, "UnfinishedInUse")
        assert.include(other.message, `in use by process ${child.pid} of ${os.hostname()}`)
        const ended = Effect.callback<void>((resume) => void child.once("exit", () => resume(Effect.void)))
        child.kill("SIGKILL")
        yield* ended
        const saved = yield* within(prefix, join(folder, "there"), ({ list }) => list)
        assert.deepInclude(saved[0], { key, bytes: 5 })
        yield* within(prefix, cache, ({ use }) =>
          Effect.map(use(key), (path) =>
            assert.strictEqual(fs.readFileSync(join(path, "step"), "utf8"), "later"),
          ),
        )
      }),
    180_000,
  )

  it.live(
    "claimed on another machine is refused while the claim is made new, and saved no more when lost",
    () =>
      Effect.gen(function* () {
        const folder = yield* temporary
        const prefix = `unfinished/${stores++}`
        const claim = server.pathOf(`${prefix}/unfinished/${key}/claim.json`)
        const here = join(folder, "here")
        const never = 3_600_000
        // Saved when it is released, and not before: nobody else writes the claim meanwhile.
        yield* within(
          prefix,
          here,
          ({ use }) => Effect.map(use(key), (path) => fs.writeFileSync(join(path, "a"), "mine")),
          never,
        )
        yield* within(
          prefix,
          here,
          ({ use }) =>
            Effect.map(use(key), (path) => {
              fs.writeFileSync(claim, JSON.stringify({ owner: "deadbeef.7.1.0.0", host: "elsewhere" }))
              fs.rmSync(claim.replace(/_object$/, "_metadata.json"), { force: true })
              fs.writeFileSync(join(path, "b"), "not saved")
            }),
          never,
        )
        const info = yield* within(prefix, join(folder, "there"), ({ list }) => list)
        assert.deepInclude(info[0], { key, bytes: 4 })
        const renewed = Effect.forever(
          Effect.andThen(
            Effect.sync(() => fs.utimesSync(claim, Date.now() / 1000, Date.now() / 1000)),
            Effect.sleep(1100),
          ),
        )
        const refused = yield* Effect.raceFirst(
          Effect.flip(within(prefix, join(folder, "there"), ({ use }) => use(key))),
          renewed,
        )
        assert.include(refused.message, "in use by process 7 of elsewhere")
        const long = Date.now() / 1000 - 180
        fs.utimesSync(claim, long, long)
        yield* within(prefix, join(folder, "there"), ({ use }) =>
          Effect.map(use(key), (path) => assert.deepEqual(fs.readdirSync(path), ["a"])),
        )
      }),
    180_000,
  )
})
