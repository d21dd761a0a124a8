import fs from "node:fs"
import os from "node:os"
import { join } from "node:path"
import { afterAll, assert, beforeAll, describe, it, vi } from "@effect/vitest"
import { Effect, type Layer, Option, Schema, Stream } from "effect"
import { BlobStoreFs, BlobStoreMemory, BlobStoreS3, Objects } from "../src/index.ts"
import * as S3 from "./s3.ts"

const temporary = Effect.acquireRelease(
  Effect.sync(() => fs.mkdtempSync(join(os.tmpdir(), "reelgraph-test-"))),
  (path) => Effect.sync(() => fs.rmSync(path, { recursive: true, force: true })),
)

const text = (value: string): Uint8Array<ArrayBuffer> => new TextEncoder().encode(value)

// Nothing waits for it, and others work here too.
vi.setConfig({ testTimeout: 60_000 })

let server: S3.Server
beforeAll(async () => void (server = await S3.start()))
afterAll(() => server.close())
let stores = 0

const subjects: Record<string, (folder: string) => Layer.Layer<Objects, unknown>> = {
  "a folder": (folder) => BlobStoreFs.layer(join(folder, "store"), { durability: "none" }),
  memory: () => BlobStoreMemory.layer,
  "a bucket": (folder) =>
    BlobStoreS3.layer(server.location(`objects/${stores++}`), {
      cache: join(folder, "cache"),
      durability: "none",
      pauseMs: 1,
    }),
}

for (const [name, make] of Object.entries(subjects)) {
  const law = <A, E, R>(body: (objects: Objects["Service"], folder: string) => Effect.Effect<A, E, R>) =>
    Effect.gen(function* () {
      const folder = yield* temporary
      return yield* Effect.provide(
        Objects.use((objects) => body(objects, folder)),
        make(folder),
      )
    })

  describe(`objects in ${name}`, () => {
    it.effect.prop(
      "get after put is identity",
      [Schema.Uint8Array],
      ([bytes]) =>
        law((objects) =>
          Effect.gen(function* () {
            const given = new Uint8Array(bytes)
            yield* objects.put("runs/x.y/0001.json", given)
            const kept = given.slice()
            given.fill(7)
            const got = Option.getOrThrow(yield* objects.get("runs/x.y/0001.json"))
            assert.deepEqual(got, kept)
          }),
        ),
      { arbitrary: { runs: name === "a bucket" ? 10 : 50 } },
    )

    it.effect("a put replaces, a remove is idempotent, what is not there is none", () =>
      law((objects) =>
        Effect.gen(function* () {
          assert.isTrue(Option.isNone(yield* objects.get("a/b")))
          yield* objects.put("a/b", text("first, longer"))
          yield* objects.put("a/b", text("second"))
          assert.deepEqual(yield* objects.get("a/b"), Option.some(text("second")))
          // Folders are no objects, and nothing is below one.
          assert.isTrue(Option.isNone(yield* objects.get("a")))
          assert.isTrue(Option.isNone(yield* objects.get("a/b/c")))
          yield* objects.remove("a")
          yield* objects.remove("a/b/c")
          assert.isTrue(Option.isSome(yield* objects.get("a/b")))
          yield* objects.remove("a/b")
          yield* objects.remove("a/b")
          assert.isTrue(Option.isNone(yield* objects.get("a/b")))
        }),
      ),
    )

    it.effect("lists whole names below a folder, sorted by their bytes", () =>
      law((objects) =>
        Effect.gen(function* () {
          const names = ["a/b/2", "a/b/10", "a/b/1.json", "a/b-c", "a/b.d", "a/bb/1", "a/Z", "ab/1", "b"]
          for (const each of names) yield* objects.put(each, text(each))
          const list = (prefix: string) => Stream.runCollect(objects.list(prefix))
          assert.deepEqual(yield* list("a/b"), ["a/b/1.json", "a/b/10", "a/b/2"])
          assert.deepEqual(yield* list("a"), [
            "a/Z",
            "a/b-c",
            "a/b.d",
            "a/b/1.json",
            "a/b/10",
            "a/b/2",
            "a/bb/1",
          ])
          assert.deepEqual(yield* list(""), names.toSorted())
          assert.deepEqual(yield* list("a/b/2"), [])
          assert.deepEqual(yield* list("none/at/all"), [])
        }),
      ),
    )

    it.effect("a bound on bytes holds, and says how many there are", () =>
      law((objects) =>
        Effect.gen(function* () {
          yield* objects.put("a", text("12345"))
          const error = yield* Effect.flip(objects.get("a", { maxBytes: 4 }))
          assert.deepInclude(error, { _tag: "ObjectTooLarge", name: "a", bytes: 5, maxBytes: 4 })
          assert.isTrue(Option.isSome(yield* objects.get("a", { maxBytes: 5 })))
        }),
      ),
    )

    it.effect("refuses names that could leave the store", () =>
      law((objects) =>
        Effect.gen(function* () {
          const wrong = [
            "/a",
            "a/",
            "a//b",
            "..",
            "../a",
            "a/../b",
            "a/.b",
            "a b",
            "ü",
            "a\0",
            "a\n",
            "x".repeat(201),
            "a/".repeat(300),
          ]
          for (const each of ["", ...wrong, undefined as unknown as string]) {
            assert.strictEqual((yield* Effect.flip(objects.put(each, text("x"))))._tag, "ObjectNameInvalid")
            assert.strictEqual((yield* Effect.flip(objects.get(each)))._tag, "ObjectNameInvalid")
            assert.strictEqual((yield* Effect.flip(objects.remove(each)))._tag, "ObjectNameInvalid")
          }
          for (const each of wrong) {
            const error = yield* Effect.flip(Stream.runDrain(objects.list(each)))
            assert.strictEqual(error._tag, "ObjectNameInvalid")
          }
        }),
      ),
    )

    it.live(
      "readers beside writers see whole objects, and every list has them",
      () =>
        law((objects) =>
          Effect.gen(function* () {
            const content = (index: number) => new Uint8Array(200_000).fill(index)
            yield* objects.put("a/x", content(0))
            const write = Effect.forEach([1, 2, 3, 4, 5], (index) => objects.put("a/x", content(index)))
            const read = Effect.repeat(
              Effect.gen(function* () {
                const bytes = Option.getOrThrow(yield* objects.get("a/x"))
                assert.strictEqual(bytes.length, 200_000)
                assert.strictEqual(bytes[0], bytes[199_999])
                assert.deepEqual(yield* Stream.runCollect(objects.list("")), ["a/x"])
                yield* Effect.yieldNow
              }),
              { times: 8 },
            )
            yield* Effect.all([write, read, write, read], { concurrency: "unbounded" })
          }),
        ),
      180_000,
    )
  })
}

describe("objects in a folder", () => {
  it.effect("are seen by another opening, and are no blobs", () =>
    Effect.gen(function* () {
      const root = join(yield* temporary, "store")
      yield* Effect.provide(
        Objects.use((objects) => objects.put("a/b", text("x"))),
        BlobStoreFs.layer(root),
      )
      assert.strictEqual(fs.readFileSync(join(root, "objects/a/b"), "utf8"), "x")
      fs.writeFileSync(join(root, "objects/.DS_Store"), "")
      const listed = yield* Effect.provide(
        Objects.use((objects) => Stream.runCollect(objects.list(""))),
        BlobStoreFs.layer(root),
      )
      assert.deepEqual(listed, ["a/b"])
      assert.deepEqual(fs.readdirSync(join(root, "tmp")), [])
    }),
  )
})
