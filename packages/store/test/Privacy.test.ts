/** What a store writes is for its owner alone, whatever the umask; what its owner has opened stays open. */
import fs from "node:fs"
import { join } from "node:path"
import { afterAll, assert, beforeAll, describe, it } from "@effect/vitest"
import { Effect, Layer, Stream } from "effect"
import { BlobStore, BlobStoreS3, Journal, Notices, Objects, StoreFs, Unfinished } from "../src/index.ts"
import * as S3 from "./s3.ts"

let server: S3.Server
beforeAll(async () => void (server = await S3.start()))
afterAll(() => server.close())

/** Everything below a folder, and itself, with its permissions. */
const modesIn = (folder: string): ReadonlyArray<readonly [string, number]> =>
  [
    folder,
    ...fs.readdirSync(folder, { recursive: true, encoding: "utf8" }).map((name) => join(folder, name)),
  ].map((path) => [path, fs.lstatSync(path).mode & 0o777])

const withUmask = <A, E, R>(umask: number, effect: Effect.Effect<A, E, R>) =>
  Effect.acquireUseRelease(
    Effect.sync(() => process.umask(umask)),
    () => effect,
    (before) => Effect.sync(() => void process.umask(before)),
  )

/** Something of each kind that a store keeps. */
const used = (folder: string) =>
  Effect.gen(function* () {
    const blobs = yield* BlobStore
    const source = join(folder, "source.txt")
    fs.writeFileSync(source, "source")
    yield* blobs.putBytes(new Uint8Array([1]), "a/b")
    yield* blobs.putStream(Stream.make(new Uint8Array([2])), "a/b")
    const moved = join(folder, "moved.txt")
    fs.writeFileSync(moved, "moved")
    yield* blobs.putFile(moved, "text/plain", { move: true })
    yield* blobs.reference(source, "text/plain")
    yield* Objects.use((objects) => objects.put("runs/one", new Uint8Array([3])))
    yield* Unfinished.use((unfinished) => unfinished.use("a".repeat(64)))
  }).pipe(Effect.scoped)

const journaled = Journal.use((journal) => journal.set("a".repeat(64), []))

describe("permissions", () => {
  it.live("of a new store are its owner's alone under a umask of 0", () =>
    Effect.gen(function* () {
      const folder = yield* S3.temporary
      const root = join(folder, "deep", "store")
      yield* withUmask(
        0,
        Effect.provide(Effect.andThen(used(folder), journaled), StoreFs.layer(root, { durability: "none" })),
      )
      const open = modesIn(join(folder, "deep")).filter(([, mode]) => (mode & 0o077) !== 0)
      assert.deepStrictEqual(open, [])
      assert.strictEqual(fs.statSync(join(root, "journal.db")).mode & 0o777, 0o600)
    }),
  )

  it.live("of the cache of a bucket are its owner's alone under a umask of 0", () =>
    Effect.gen(function* () {
      const folder = yield* S3.temporary
      const cache = join(folder, "deep", "cache")
      const layer = BlobStoreS3.layer(server.location("private/0"), { cache, durability: "none" })
      yield* withUmask(0, Effect.provide(used(folder), layer))
      const open = modesIn(join(folder, "deep")).filter(([, mode]) => (mode & 0o077) !== 0)
      assert.deepStrictEqual(open, [])
    }),
  )

  it.live("of what comes into a store that others may read are as wide, and its own stay as they are", () =>
    Effect.gen(function* () {
      const folder = yield* S3.temporary
      const root = join(folder, "store")
      fs.mkdirSync(root)
      fs.chmodSync(root, 0o755)
      const told: Array<string> = []
      const notices = Layer.succeed(Notices, (text: string) => Effect.sync(() => void told.push(text)))
      const store = StoreFs.layer(root, { durability: "none" }).pipe(Layer.provide(notices))
      yield* withUmask(0, Effect.provide(Effect.andThen(used(folder), journaled), store))
      const modes = modesIn(root).filter(([path]) => !path.endsWith("-wal") && !path.endsWith("-shm"))
      for (const [path, mode] of modes) {
        const readable = fs.statSync(path).isDirectory() ? 0o055 : 0o044
        assert.strictEqual(mode & 0o077, readable, path)
      }
      assert.deepStrictEqual(told, [])
    }),
  )

  it.live("that let others write to a store are told of, with what to do", () =>
    Effect.gen(function* () {
      const folder = yield* S3.temporary
      const root = join(folder, "store")
      fs.mkdirSync(root)
      for (const [mode, who] of [
        [0o777, "every user"],
        [0o770, "its group"],
      ] as const) {
        fs.chmodSync(root, mode)
        const told: Array<string> = []
        const notices = Layer.succeed(Notices, (text: string) => Effect.sync(() => void told.push(text)))
        const store = StoreFs.layer(root, { durability: "none" }).pipe(Layer.provide(notices))
        yield* withUmask(0, Effect.provide(used(folder), store))
        assert.lengthOf(told, 1)
        assert.include(told[0], `written to by ${who}`)
        assert.include(told[0], `chmod go-w ${root}`)
        // What is made in it is never for all the world to write.
        for (const [path, made] of modesIn(root)) if (path !== root) assert.strictEqual(made & 0o002, 0, path)
      }
    }),
  )
})
