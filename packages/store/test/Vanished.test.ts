/** A store that goes away, or fills, while it is in use: who uses it is told so, and it is never made anew. */
import fs from "node:fs"
import { join } from "node:path"
import { afterAll, assert, beforeAll, describe, it } from "@effect/vitest"
import { Deferred, Effect, Fiber, Layer, Option, Stream } from "effect"
import {
  BlobStore,
  BlobStoreFs,
  BlobStoreS3,
  Journal,
  Notices,
  Objects,
  Scratch,
  StoreAt,
  StoreFs,
  Unfinished,
} from "../src/index.ts"
import * as S3 from "./s3.ts"

let server: S3.Server
beforeAll(async () => void (server = await S3.start()))
afterAll(() => server.close())
let prefixes = 0

const key = "a".repeat(64)

describe("a folder that is removed while it is a store", () => {
  it.live("fails every use with a sentence, and nothing of it comes back", () =>
    Effect.gen(function* () {
      const root = join(yield* S3.temporary, "store")
      yield* Effect.gen(function* () {
        const blobs = yield* BlobStore
        const objects = yield* Objects
        const unfinished = yield* Unfinished
        const scratch = yield* Scratch
        const artifact = yield* blobs.putBytes(new Uint8Array([1]), "a/b")
        yield* objects.put("a", new Uint8Array(1))
        fs.rmSync(root, { recursive: true })
        const uses: Record<string, Effect.Effect<unknown, { readonly message: string }, any>> = {
          putBytes: blobs.putBytes(new Uint8Array([2]), "a/b"),
          putStream: blobs.putStream(Stream.make(new Uint8Array([3])), "a/b"),
          get: blobs.get(artifact),
          stream: Stream.runDrain(blobs.stream(artifact)),
          localPath: blobs.localPath(artifact),
          has: blobs.has(artifact.sha256),
          hasAll: blobs.hasAll([artifact]),
          kind: blobs.kind(artifact.sha256),
          scratch: scratch.directory,
          "put of an object": objects.put("b", new Uint8Array(1)),
          // Who waits for an object would wait for ever.
          "get of an object": objects.get("a"),
          "list of objects": Stream.runCollect(objects.list("")),
          "use of unfinished work": unfinished.use(key),
          "share of unfinished work": unfinished.share(key),
        }
        for (const [name, use] of Object.entries(uses)) {
          const error = yield* Effect.flip(use)
          assert.include(error.message, `the store ${root} is gone`, name)
          assert.isTrue((error as { readonly endsRun?: boolean }).endsRun, name)
          assert.isFalse(fs.existsSync(root), name)
        }
      }).pipe(Effect.scoped, Effect.provide(BlobStoreFs.layer(root, { durability: "none" })))
      assert.isFalse(fs.existsSync(root))
    }),
  )

  it.live("takes the journal with it: what is written into a removed file does not count", () =>
    Effect.gen(function* () {
      const root = join(yield* S3.temporary, "store")
      yield* Effect.gen(function* () {
        const journal = yield* Journal
        yield* journal.set(key, [])
        fs.rmSync(root, { recursive: true })
        const error = yield* Effect.flip(journal.set("b".repeat(64), []))
        assert.strictEqual(error._tag, "JournalError")
        assert.include(error.message, "it is gone")
      }).pipe(Effect.provide(StoreFs.layer(root, { durability: "none" })))
      assert.isFalse(fs.existsSync(root))
    }),
  )

  it.live("is not made anew by a process that works for another one, in a folder or a bucket", () =>
    Effect.gen(function* () {
      const root = join(yield* S3.temporary, "store")
      const prefix = `vanished/${prefixes++}`
      const bucket = `s3://${S3.bucket}/${prefix}?endpoint=${encodeURIComponent(server.endpoint)}`
      for (const location of [root, bucket]) {
        const opening = Effect.provide(Effect.void, StoreAt.layer(location, { existing: true }))
        const error = yield* Effect.flip(opening)
        assert.include(error.message, "is gone")
      }
      assert.isFalse(fs.existsSync(root))
      assert.isFalse(fs.existsSync(server.pathOf(`${prefix}/store.json`)))
      // Where there is one, it is opened.
      yield* Effect.provide(Effect.void, StoreAt.layer(root))
      yield* Effect.provide(Effect.void, StoreAt.layer(root, { existing: true }))
    }),
  )
})

describe("a bucket", () => {
  for (const [status, code] of [
    [403, "QuotaExceeded"],
    [507, "XMinioStorageFull"],
  ] as const)
    it.live(`that is full says so at once: ${status} ${code}`, () =>
      Effect.gen(function* () {
        const folder = yield* S3.temporary
        let isFull = false
        const proxy = yield* S3.proxy(server.endpoint, {
          answer: (method) => (isFull && method === "PUT" ? { status, code } : undefined),
        })
        const location = S3.locationAt(proxy.endpoint, `vanished/${prefixes++}`)
        yield* Effect.gen(function* () {
          const blobs = yield* BlobStore
          const objects = yield* Objects
          isFull = true
          for (const put of [
            Effect.asVoid(blobs.putBytes(new Uint8Array([2]), "a/b")),
            objects.put("a", new Uint8Array(1)),
          ]) {
            const error = yield* Effect.flip(put)
            assert.strictEqual(error._tag, "OutOfSpace")
            assert.include(error.message, "no space left while writing s3://")
          }
          assert.lengthOf(
            proxy.requests.filter((each) => each.startsWith("PUT ") && !each.includes("store.json")),
            2,
          )
        }).pipe(
          Effect.provide(BlobStoreS3.layer(location, { cache: join(folder, "cache"), durability: "none" })),
        )
      }),
    )

  it.live("whose server is silent is told of within seconds, and so is that it answers again", () =>
    Effect.gen(function* () {
      const folder = yield* S3.temporary
      const options = { fraction: 0, kinds: ["silent"] as const }
      const proxy = yield* S3.proxy(server.endpoint, options)
      const location = S3.locationAt(proxy.endpoint, `vanished/${prefixes++}`)
      const [silent, back] = [yield* Deferred.make<string>(), yield* Deferred.make<string>()]
      const notices = Layer.succeed(Notices, (text: string) =>
        Effect.asVoid(Deferred.succeed(text.includes("answers again") ? back : silent, text)),
      )
      const layer = BlobStoreS3.layer(location, {
        cache: join(folder, "cache"),
        durability: "none",
        timeoutMs: 500,
        attempts: 1000,
      }).pipe(Layer.provide(notices))
      yield* Effect.gen(function* () {
        const objects = yield* Objects
        yield* objects.put("a", new Uint8Array([7]))
        options.fraction = 1
        const fiber = yield* Effect.forkChild(objects.get("a"))
        const notice = yield* Deferred.await(silent)
        assert.match(notice, /^still waiting for http:\/\/127.0.0.1:\d+: no answer of use for \d s/)
        options.fraction = 0
        yield* Deferred.await(back)
        assert.isTrue(Option.isSome(yield* Fiber.join(fiber)))
      }).pipe(Effect.provide(layer))
    }),
  )
})
