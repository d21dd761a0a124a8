import { spawn } from "node:child_process"
import { createHash, randomBytes } from "node:crypto"
import fs from "node:fs"
import { join } from "node:path"
import { fileURLToPath } from "node:url"
import { afterAll, assert, beforeAll, describe, it, vi } from "@effect/vitest"
import { Deferred, Effect, Exit, Fiber, Option, Scope, Stream } from "effect"
import { TestClock } from "effect/testing"
import { BlobStore, BlobStoreS3, Objects, Scratch, type StoreLocation } from "../src/index.ts"
import * as S3 from "./s3.ts"

// Nothing waits for it, and others work here too.
vi.setConfig({ testTimeout: 60_000 })

const sha256Of = (bytes: Uint8Array): string => createHash("sha256").update(bytes).digest("hex")
const textBytes = (text: string): Uint8Array => new TextEncoder().encode(text)
const mebi = 1024 * 1024

let server: S3.Server
beforeAll(async () => void (server = await S3.start()))
afterAll(() => server.close())
let stores = 0
const newPrefix = (): string => `own/${stores++}`

const blobKey = (prefix: string, sha256: string, place = "blobs"): string =>
  `${prefix}/${place}/${sha256.slice(0, 2)}/${sha256.slice(2)}`

/** A store as a machine with this cache sees it. */
const at = (location: StoreLocation.Bucket, cache: string, options: BlobStoreS3.Options = {}) =>
  BlobStoreS3.layer(location, { cache, durability: "none", pauseMs: 1, ...options })

const cachedIn = (cache: string): ReadonlyArray<string> =>
  fs
    .readdirSync(join(cache, "blobs"))
    .flatMap((fan) => fs.readdirSync(join(cache, "blobs", fan)).map((name) => fan + name))

describe("a store in a bucket", () => {
  it.live(
    "a large blob goes in parts, and comes out whole on another machine, within a bound of memory",
    () =>
      Effect.gen(function* () {
        const folder = yield* S3.temporary
        const proxy = yield* S3.proxy(server.endpoint)
        const location = S3.locationAt(proxy.endpoint, newPrefix())
        const bytes = randomBytes(20 * mebi + 12345)
        const chunks = Array.from({ length: 21 }, (_, index) =>
          bytes.subarray(index * mebi, Math.min(bytes.length, (index + 1) * mebi)),
        )
        const artifact = yield* Effect.provide(
          BlobStore.use((store) => store.putStream(Stream.fromIterable(chunks), "a/b")),
          at(location, join(folder, "here")),
        )
        assert.deepInclude(artifact, { sha256: sha256Of(bytes), bytes: bytes.length })
        assert.strictEqual(proxy.requests.filter((each) => /^PUT .*partNumber=/.test(each)).length, 3)
        yield* Effect.gen(function* () {
          const store = yield* BlobStore
          assert.isTrue(fs.readFileSync(yield* store.localPath(artifact)).equals(bytes))
          assert.isTrue(Buffer.from(yield* store.get(artifact)).equals(bytes))
          yield* store.verify(artifact)
          const again = proxy.requests.filter((each) => each.startsWith("PUT")).length
          assert.deepEqual(yield* store.putBytes(bytes, "a/b"), artifact)
          assert.strictEqual(proxy.requests.filter((each) => each.startsWith("PUT")).length, again)
        }).pipe(Effect.scoped, Effect.provide(at(location, join(folder, "there"))))
      }),
  )

  it.effect("a put of a blob that is there is a HEAD, and after a day a copy onto itself", () =>
    Effect.gen(function* () {
      const folder = yield* S3.temporary
      const proxy = yield* S3.proxy(server.endpoint)
      yield* TestClock.setTime(Date.now())
      yield* Effect.gen(function* () {
        const store = yield* BlobStore
        const put = Effect.andThen(
          Effect.sync(() => void proxy.requests.splice(0)),
          store.putBytes(textBytes("x"), "a/b"),
        )
        const methods = () => proxy.requests.map((each) => each.split(" ")[0])
        yield* put
        assert.deepEqual(methods(), ["HEAD", "PUT"])
        yield* put
        assert.deepEqual(methods(), ["HEAD"])
        yield* TestClock.adjust("25 hours")
        const artifact = yield* put
        assert.deepEqual(methods(), ["HEAD", "PUT"])
        yield* store.verify(artifact)
      }).pipe(Effect.provide(at(S3.locationAt(proxy.endpoint, newPrefix()), join(folder, "cache"))))
    }),
  )

  it.live("a registered file is uploaded, read where it is here, and by other machines", () =>
    Effect.gen(function* () {
      const folder = yield* S3.temporary
      const location = server.location(newPrefix())
      const path = join(folder, "talk.mp4")
      const bytes = randomBytes(100_000)
      fs.writeFileSync(path, bytes)
      const artifact = yield* Effect.gen(function* () {
        const store = yield* BlobStore
        const artifact = yield* store.reference(path, "video/mp4")
        assert.strictEqual(yield* store.localPath(artifact), path)
        assert.deepEqual(yield* store.kind(artifact.sha256), Option.some("reference"))
        assert.deepEqual(
          (yield* Stream.runCollect(store.list())).map(({ kind, sha256 }) => [kind, sha256]),
          [["reference", artifact.sha256]],
        )
        assert.deepEqual(cachedIn(join(folder, "here")), [])
        // Changed or gone here: the bucket has what it was.
        fs.writeFileSync(path, "another")
        assert.isTrue(Buffer.from(yield* store.get(artifact)).equals(bytes))
        return artifact
      }).pipe(Effect.scoped, Effect.provide(at(location, join(folder, "here"))))
      yield* Effect.gen(function* () {
        const store = yield* BlobStore
        assert.isTrue(yield* store.has(artifact.sha256))
        assert.isTrue(Buffer.from(yield* store.get(artifact)).equals(bytes))
        assert.deepEqual([...(yield* store.hasAll([artifact.sha256]))], [artifact.sha256])
        yield* store.remove(artifact.sha256)
        assert.isFalse(yield* store.has(artifact.sha256))
      }).pipe(Effect.provide(at(location, join(folder, "there"))))
    }),
  )

  it.live("what the bucket lost is not in the store, whatever the cache has", () =>
    Effect.gen(function* () {
      const folder = yield* S3.temporary
      const prefix = newPrefix()
      yield* Effect.gen(function* () {
        const store = yield* BlobStore
        const artifact = yield* store.putBytes(textBytes("x"), "a/b")
        fs.rmSync(server.pathOf(blobKey(prefix, artifact.sha256)))
        assert.isFalse(yield* store.has(artifact.sha256))
        assert.deepEqual([...(yield* store.hasAll([artifact.sha256]))], [])
        yield* store.putBytes(textBytes("x"), "a/b")
        assert.isTrue(yield* store.has(artifact.sha256))
      }).pipe(Effect.provide(at(server.location(prefix), join(folder, "cache"))))
    }),
  )

  it.live("hundreds of digests are looked for in listings, not one by one", () =>
    Effect.gen(function* () {
      const folder = yield* S3.temporary
      const proxy = yield* S3.proxy(server.endpoint)
      const prefix = newPrefix()
      yield* Effect.gen(function* () {
        const store = yield* BlobStore
        const put = yield* Effect.forEach(
          Array.from({ length: 150 }).keys(),
          (index) => store.putBytes(textBytes(`blob ${index}`), "a/b"),
          { concurrency: 16 },
        )
        const present = put.map(({ sha256 }) => sha256)
        const absent = Array.from({ length: 150 }, (_, index) => sha256Of(textBytes(`none ${index}`)))
        proxy.requests.splice(0)
        assert.deepEqual(yield* store.hasAll([...absent, ...present]), new Set(present))
        const heads = proxy.requests.filter((each) => each.startsWith("HEAD")).length
        // Of registered files there are none: a page of them settles all that are left.
        assert.isBelow(proxy.requests.length - heads, 10)
        assert.isAtMost(heads, absent.length)
      }).pipe(Effect.provide(at(S3.locationAt(proxy.endpoint, prefix), join(folder, "cache"))))
    }),
  )

  it.live("two processes put one blob at once", () =>
    Effect.gen(function* () {
      const folder = yield* S3.temporary
      const prefix = newPrefix()
      const main = fileURLToPath(new URL("./putter.ts", import.meta.url))
      const run = (cache: string) =>
        Effect.callback<number | null>((resume) => {
          const child = spawn(process.execPath, [main, server.endpoint, prefix, join(folder, cache)], {
            stdio: "inherit",
          })
          child.once("exit", (code) => resume(Effect.succeed(code)))
          return Effect.sync(() => child.kill("SIGKILL"))
        })
      // Two of one machine and one of another.
      const codes = yield* Effect.all([run("here"), run("here"), run("there")], {
        concurrency: "unbounded",
      })
      assert.deepEqual(codes, [0, 0, 0])
      yield* Effect.gen(function* () {
        const store = yield* BlobStore
        const listed = yield* Stream.runCollect(store.list())
        assert.strictEqual(listed.length, 3)
        yield* Effect.forEach(listed, (info) => store.verify(info))
        assert.deepEqual(fs.readdirSync(join(folder, "here/tmp")), [])
      }).pipe(Effect.provide(at(server.location(prefix), join(folder, "here"))))
    }),
  )

  it.live("is marked, and refuses other objects, marks of others and newer ones", () =>
    Effect.gen(function* () {
      const folder = yield* S3.temporary
      const open = (prefix: string) =>
        Effect.provide(Effect.void, at(server.location(prefix), join(folder, "cache")))
      const place = (key: string, text: string) =>
        Effect.provide(
          Objects.use((objects) => objects.put(key, textBytes(text))),
          at(server.location("others"), join(folder, "cache")),
        )
      const marked = newPrefix()
      yield* open(marked)
      const mark: unknown = JSON.parse(fs.readFileSync(server.pathOf(`${marked}/store.json`), "utf8"))
      assert.deepEqual(mark, { format: "reelgraph-store", version: 1, requires: ">=0.1.0" })
      yield* open(marked)

      yield* place("strange/notes.txt", "mine")
      const strange = yield* Effect.flip(open("others/objects/strange"))
      assert.strictEqual(strange._tag, "NotAStore")
      assert.include(strange.message, "s3://bucket/others/objects/strange/ is not a reelgraph store")
      assert.include(strange.message, "notes.txt")
      assert.isFalse(fs.existsSync(server.pathOf("others/objects/strange/store.json")))

      yield* place("newer/store.json", '{"format":"reelgraph-store","version":9,"requires":">=4.0.0"}')
      const newer = yield* Effect.flip(open("others/objects/newer"))
      assert.include(newer.message, "is a store of version 9")
      assert.include(newer.message, ">=4.0.0")
    }),
  )
})

describe("the cache of a store in a bucket", () => {
  it.live("drops the least recently used beyond its limit, and what is in use never", () =>
    Effect.gen(function* () {
      const cache = join(yield* S3.temporary, "cache")
      yield* Effect.gen(function* () {
        const store = yield* BlobStore
        const put = (index: number) => store.putBytes(new Uint8Array(100_000).fill(index), "a/b")
        const first = yield* put(0)
        const scope = yield* Scope.make()
        const path = yield* Scope.provide(store.localPath(first), scope)
        const second = yield* put(1)
        const others = yield* Effect.forEach([2, 3, 4, 5, 6, 7, 8, 9, 10], put)
        yield* store.get(second)
        const more = yield* Effect.forEach([11, 12, 13, 14], put)
        const kept = cachedIn(cache)
        assert.isAtMost(kept.length, 11)
        assert.include(kept, more[3]!.sha256)
        assert.include(kept, second.sha256)
        assert.notInclude(kept, others[0]!.sha256)
        // Pinned for longer than anything else is in the cache.
        assert.deepEqual(fs.readFileSync(path), Buffer.alloc(100_000, 0))
        yield* Scope.close(scope, Exit.void)
        assert.isFalse(fs.existsSync(path))
        // Gone from the cache is not gone from the store.
        assert.strictEqual((yield* store.get(others[0]!))[0], 2)
        yield* Effect.forEach([20, 21, 22, 23, 24, 25, 26, 27, 28, 29, 30, 31], put)
        assert.notInclude(cachedIn(cache), first.sha256)
      }).pipe(Effect.provide(at(server.location(newPrefix()), cache, { cacheBytes: 1_000_000 })))
    }),
  )

  it.live("a blob larger than the limit can be read all the same", () =>
    Effect.gen(function* () {
      const folder = yield* S3.temporary
      const location = server.location(newPrefix())
      const bytes = randomBytes(300_000)
      const artifact = yield* Effect.provide(
        BlobStore.use((store) => store.putBytes(bytes, "a/b")),
        at(location, join(folder, "here"), { cacheBytes: 1000 }),
      )
      yield* Effect.gen(function* () {
        const store = yield* BlobStore
        const path = yield* store.localPath(artifact)
        assert.isTrue(Buffer.from(yield* store.get(artifact)).equals(bytes))
        assert.isTrue(fs.readFileSync(path).equals(bytes))
      }).pipe(Effect.scoped, Effect.provide(at(location, join(folder, "there"), { cacheBytes: 1000 })))
    }),
  )

  it.live("leaves alone what another process has in use", () =>
    Effect.gen(function* () {
      const folder = yield* S3.temporary
      const cache = join(folder, "cache")
      const prefix = newPrefix()
      const main = fileURLToPath(new URL("./putter.ts", import.meta.url))
      const child = yield* Effect.acquireRelease(
        Effect.sync(() =>
          spawn(process.execPath, [main, server.endpoint, prefix, cache, "hold"], {
            stdio: ["ignore", "pipe", "inherit"],
          }),
        ),
        (process) => Effect.sync(() => process.kill("SIGKILL")),
      )
      const path = yield* Effect.callback<string>((resume) => {
        child.stdout.once("data", (data: Buffer) => resume(Effect.succeed(data.toString("utf8").trim())))
      })
      const held = fs.readFileSync(path)
      const fill = Effect.gen(function* () {
        const store = yield* BlobStore
        yield* Effect.forEach([1, 2, 3, 4, 5, 6], (index) =>
          store.putBytes(new Uint8Array(100_000).fill(index), "a/b"),
        )
      }).pipe(Effect.provide(at(server.location(prefix), cache, { cacheBytes: 100_000 })))
      yield* fill
      assert.isTrue(fs.readFileSync(path).equals(held))
      const ended = Effect.callback<void>((resume) => void child.once("exit", () => resume(Effect.void)))
      child.kill("SIGKILL")
      yield* ended
      // What a killed process had in use is in nobody's way.
      yield* fill
      assert.isFalse(fs.existsSync(path))
    }),
  )

  it.live("a copy that is damaged on the disk is downloaded anew", () =>
    Effect.gen(function* () {
      const cache = join(yield* S3.temporary, "cache")
      yield* Effect.gen(function* () {
        const store = yield* BlobStore
        const bytes = randomBytes(100_000)
        const artifact = yield* store.putBytes(bytes, "a/b")
        const copy = join(cache, "blobs", artifact.sha256.slice(0, 2), artifact.sha256.slice(2))
        const damage = (content: Uint8Array) => {
          fs.chmodSync(copy, 0o644)
          fs.writeFileSync(copy, content)
        }
        damage(new Uint8Array(100_000))
        assert.isTrue(Buffer.from(yield* store.get(artifact)).equals(bytes))
        damage(bytes.subarray(0, 50_000))
        assert.isTrue(fs.readFileSync(yield* store.localPath(artifact)).equals(bytes))
        damage(new Uint8Array(100_000))
        assert.isTrue(fs.readFileSync(yield* store.localPath(artifact)).equals(bytes))
        damage(new Uint8Array(100_000))
        assert.isTrue(Buffer.concat(yield* Stream.runCollect(store.stream(artifact))).equals(bytes))
      }).pipe(Effect.scoped, Effect.provide(at(server.location(newPrefix()), cache)))
    }),
  )
})

describe("a server that fails", () => {
  it.live(
    "a fifth of requests unanswered, refused, cut short or changed: everything comes out as it went in",
    () =>
      Effect.gen(function* () {
        const folder = yield* S3.temporary
        const proxy = yield* S3.proxy(server.endpoint, { fraction: 0.2 })
        const location = S3.locationAt(proxy.endpoint, newPrefix())
        // Long enough for a machine that has other things to do.
        const options = { timeoutMs: 3000, pauseMs: 20, attempts: 15 }
        const contents = Array.from({ length: 60 }, (_, index) => randomBytes((index * 997) % 40_000))
        const large = randomBytes(9 * mebi)
        const artifacts = yield* Effect.gen(function* () {
          const store = yield* BlobStore
          const objects = yield* Objects
          const scratch = yield* Scratch.use((service) => service.directory)
          const file = join(scratch, "large")
          fs.writeFileSync(file, large)
          return yield* Effect.all(
            [
              store.putFile(file, "a/b", { move: true }),
              ...contents.map((bytes, index) =>
                Effect.andThen(
                  objects.put(`notes/${String(index).padStart(2, "0")}`, bytes),
                  store.putBytes(bytes, "a/b"),
                ),
              ),
            ],
            { concurrency: 16 },
          )
        }).pipe(Effect.scoped, Effect.provide(at(location, join(folder, "here"), options)))
        yield* Effect.gen(function* () {
          const store = yield* BlobStore
          const objects = yield* Objects
          const path = yield* store.localPath(artifacts[0])
          assert.isTrue(fs.readFileSync(path).equals(large))
          yield* store.verify(artifacts[0])
          const names = yield* Stream.runCollect(objects.list("notes"))
          assert.strictEqual(names.length, contents.length)
          yield* Effect.forEach(
            contents,
            (bytes, index) =>
              Effect.gen(function* () {
                assert.isTrue(Buffer.from(yield* store.get(artifacts[index + 1]!)).equals(bytes))
                const object = Option.getOrThrow(yield* objects.get(names[index]!))
                assert.isTrue(Buffer.from(object).equals(bytes))
              }),
            { concurrency: 16 },
          )
          const all = artifacts.map(({ sha256 }) => sha256)
          assert.deepEqual(yield* store.hasAll(all), new Set(all))
        }).pipe(Effect.scoped, Effect.provide(at(location, join(folder, "there"), options)))
        for (const kind of ["500", "503", "reset", "lost", "silent", "cut", "short", "flip"] as const)
          assert.isAbove(proxy.faults.get(kind) ?? 0, 0, kind)
      }),
    120_000,
  )

  it.live("a large download that is cut off goes on where it was", () =>
    Effect.gen(function* () {
      const folder = yield* S3.temporary
      const proxy = yield* S3.proxy(server.endpoint, { fraction: 0.5, kinds: ["cut"] })
      const prefix = newPrefix()
      const bytes = randomBytes(3 * mebi)
      const artifact = yield* Effect.provide(
        BlobStore.use((store) => store.putBytes(bytes, "a/b")),
        at(server.location(prefix), join(folder, "here")),
      )
      for (let round = 0; round < 4; round++) {
        yield* Effect.provide(
          BlobStore.use((store) =>
            Effect.map(store.get(artifact), (got) => assert.isTrue(bytes.equals(got))),
          ),
          at(S3.locationAt(proxy.endpoint, prefix), join(folder, `there${round}`)),
        )
      }
      assert.isAbove(proxy.faults.get("cut") ?? 0, 0)
    }),
  )

  it.live("a blob that is damaged in the bucket is told of, after some attempts", () =>
    Effect.gen(function* () {
      const folder = yield* S3.temporary
      const proxy = yield* S3.proxy(server.endpoint)
      const prefix = newPrefix()
      yield* Effect.gen(function* () {
        const store = yield* BlobStore
        const artifact = yield* store.putBytes(textBytes("whole"), "a/b")
        fs.writeFileSync(server.pathOf(blobKey(prefix, artifact.sha256)), "whale")
        fs.rmSync(join(folder, "cache/blobs"), { recursive: true })
        proxy.requests.splice(0)
        const error = yield* Effect.flip(store.get(artifact))
        assert.strictEqual(error._tag, "BlobCorrupt")
        assert.include(error.message, `s3://bucket/${blobKey(prefix, artifact.sha256)} is damaged`)
        assert.strictEqual(proxy.requests.filter((each) => each.startsWith("GET")).length, 5)
        assert.deepEqual(fs.readdirSync(join(folder, "cache/tmp")), [])
        // Never removed: it is out of the way of whoever makes the blob anew.
        assert.isFalse(yield* store.has(artifact.sha256))
        const damaged = server.pathOf(`${prefix}/damaged/${artifact.sha256}`)
        assert.strictEqual(fs.readFileSync(damaged, "utf8"), "whale")
        yield* store.putBytes(textBytes("whole"), "a/b")
        yield* store.verify(artifact)
      }).pipe(Effect.provide(at(S3.locationAt(proxy.endpoint, prefix), join(folder, "cache"))))
    }),
  )

  const refusals: ReadonlyArray<readonly [name: string, answer: S3.Answer, tag: string, says: string]> = [
    ["no permission", { status: 403, code: "AccessDenied" }, "PermissionMissing", "needs s3:ListBucket"],
    ["an expired token", { status: 400, code: "ExpiredToken" }, "CredentialsRefused", "have expired"],
    [
      "a wrong secret",
      { status: 403, code: "SignatureDoesNotMatch" },
      "CredentialsRefused",
      "AWS_SECRET_ACCESS_KEY",
    ],
    [
      "an unknown key",
      { status: 403, code: "InvalidAccessKeyId" },
      "CredentialsRefused",
      "InvalidAccessKeyId",
    ],
    ["no such bucket", { status: 404, code: "NoSuchBucket" }, "BucketMissing", "has no bucket bucket"],
    [
      "another region",
      { status: 301, code: "PermanentRedirect", headers: { "x-amz-bucket-region": "eu-central-1" } },
      "RegionWrong",
      "set AWS_REGION=eu-central-1",
    ],
    [
      "a clock that is wrong",
      {
        status: 403,
        code: "RequestTimeTooSkewed",
        headers: { date: new Date(Date.now() - 36_000_000).toUTCString() },
      },
      "ClockSkewed",
      "by 36",
    ],
    [
      "something else",
      { status: 400, code: "InvalidRequest" },
      "RequestRefused",
      "InvalidRequest, said the test",
    ],
  ]
  for (const [name, answer, tag, says] of refusals) {
    it.live(`refuses to open: ${name}`, () =>
      Effect.gen(function* () {
        const cache = join(yield* S3.temporary, "cache")
        const proxy = yield* S3.proxy(server.endpoint, { answer: () => answer })
        const error = yield* Effect.flip(
          Effect.provide(Effect.void, at(S3.locationAt(proxy.endpoint, "x"), cache)),
        )
        assert.strictEqual(error._tag, tag)
        assert.include(error.message, says)
        assert.isAtMost(proxy.requests.length, 2)
        assert.isFalse(fs.existsSync(cache))
      }),
    )
  }

  it.live("a bucket and a key that the server really does not know", () =>
    Effect.gen(function* () {
      const cache = join(yield* S3.temporary, "cache")
      const open = Effect.provide(Effect.void, at({ ...server.location("x"), bucket: "none" }, cache))
      const missing = yield* Effect.flip(open)
      assert.strictEqual(missing._tag, "BucketMissing")
      assert.include(missing.message, `${server.endpoint} has no bucket none`)
      const before = process.env["AWS_ACCESS_KEY_ID"]
      yield* Effect.acquireRelease(
        Effect.sync(() => void (process.env["AWS_ACCESS_KEY_ID"] = "NOBODY")),
        () => Effect.sync(() => void (process.env["AWS_ACCESS_KEY_ID"] = before)),
      )
      const refused = yield* Effect.flip(open)
      assert.strictEqual(refused._tag, "CredentialsRefused")
    }),
  )

  it.live("nobody listens: told in seconds, and worth another attempt of a call", () =>
    Effect.gen(function* () {
      const cache = join(yield* S3.temporary, "cache")
      const error = yield* Effect.flip(
        Effect.provide(Effect.void, at(S3.locationAt("http://127.0.0.1:9", "x"), cache)),
      )
      assert.strictEqual(error._tag, "StoreUnreachable")
      assert.include(error.message, "could not be reached in 4 attempts")
      assert.include(error.message, "ECONNREFUSED")
      assert.deepInclude(error, { retryable: true })
    }),
  )

  it.live("permission that ends while the store is open fails the put, and leaves nothing half", () =>
    Effect.gen(function* () {
      const folder = yield* S3.temporary
      let refuse = false
      const proxy = yield* S3.proxy(server.endpoint, {
        answer: (method) => (refuse && method === "PUT" ? { status: 403, code: "AccessDenied" } : undefined),
      })
      yield* Effect.gen(function* () {
        const store = yield* BlobStore
        refuse = true
        const error = yield* Effect.flip(store.putBytes(textBytes("x"), "a/b"))
        assert.strictEqual(error._tag, "StoreUnwritable")
        assert.include(error.message, "no permission for PutObject")
        assert.isFalse("retryable" in error && error.retryable)
        refuse = false
        assert.deepEqual(yield* Stream.runCollect(store.list()), [])
        yield* store.verify(yield* store.putBytes(textBytes("x"), "a/b"))
      }).pipe(Effect.provide(at(S3.locationAt(proxy.endpoint, newPrefix()), join(folder, "cache"))))
    }),
  )

  /** Large uploads as their requests tell: those begun, those completed, those whose parts were removed. */
  const uploadsIn = (requests: ReadonlyArray<string>) => ({
    begun: requests.filter((each) => /^POST .*\?uploads/.test(each)).length,
    completed: requests.filter((each) => /^POST .*uploadId=/.test(each)).length,
    parts: requests.filter((each) => /^PUT .*partNumber=/.test(each)).length,
    removed: requests.filter((each) => /^DELETE .*uploadId=/.test(each)).length,
  })

  it.live("large uploads are two at a time, however many are asked for", () =>
    Effect.gen(function* () {
      const folder = yield* S3.temporary
      let most = 0
      const proxy = yield* S3.proxy(server.endpoint, {
        answer: () => {
          const { begun, completed } = uploadsIn(proxy.requests)
          most = Math.max(most, begun - completed)
          return undefined
        },
      })
      yield* Effect.gen(function* () {
        const store = yield* BlobStore
        yield* Effect.forEach(
          [1, 2, 3, 4, 5],
          (fill) => store.putBytes(new Uint8Array(9 * mebi).fill(fill), "a/b"),
          { concurrency: 5 },
        )
        assert.deepInclude(uploadsIn(proxy.requests), { begun: 5, completed: 5, parts: 10, removed: 0 })
        assert.strictEqual(most, 2)
      }).pipe(Effect.provide(at(S3.locationAt(proxy.endpoint, newPrefix()), join(folder, "cache"))))
    }),
  )

  it.live("a large upload that is refused or interrupted removes its parts, and sends nothing more", () =>
    Effect.gen(function* () {
      const folder = yield* S3.temporary
      const second = yield* Deferred.make<void>()
      let refuse = true
      const proxy = yield* S3.proxy(server.endpoint, {
        answer: (method, url) => {
          // The first removal fails.
          if (method === "DELETE" && uploadsIn(proxy.requests).removed === 1)
            return { status: 500, code: "InternalError" }
          if (!url.includes("partNumber=2&")) return undefined
          if (refuse) return { status: 403, code: "AccessDenied" }
          Deferred.doneUnsafe(second, Effect.void)
          return undefined
        },
      })
      const prefix = newPrefix()
      yield* Effect.gen(function* () {
        const store = yield* BlobStore
        const bytes = randomBytes(60 * mebi)
        const put = store.putBytes(bytes, "a/b")
        const error = yield* Effect.flip(put)
        assert.strictEqual(error._tag, "StoreUnwritable")
        assert.strictEqual((error.cause as Error).name, "PermissionMissing")
        assert.include(error.message, "no permission for UploadPart")
        const refused = uploadsIn(proxy.requests)
        assert.deepInclude(refused, { begun: 1, completed: 0, removed: 2 })
        assert.isAtMost(refused.parts, 5)
        refuse = false
        const fiber = yield* Effect.forkChild(put)
        yield* Deferred.await(second)
        yield* Fiber.interrupt(fiber)
        const interrupted = uploadsIn(proxy.requests)
        assert.deepInclude(interrupted, { begun: 2, completed: 0, removed: 3 })
        assert.isAtMost(interrupted.parts, 9)
        yield* Effect.sleep(200)
        assert.deepEqual(uploadsIn(proxy.requests), interrupted)
        assert.isFalse(fs.existsSync(server.pathOf(blobKey(prefix, sha256Of(bytes)))))
        yield* store.verify(yield* put)
      }).pipe(Effect.provide(at(S3.locationAt(proxy.endpoint, prefix), join(folder, "cache"))))
    }),
  )

  it.live("a large upload whose last answer is lost is there", () =>
    Effect.gen(function* () {
      const folder = yield* S3.temporary
      let lost = 0
      const options: { fraction: number } & S3.ProxyOptions = {
        fraction: 0,
        kinds: ["lost"],
        answer: (method, url) => {
          options.fraction = method === "POST" && url.includes("uploadId=") && lost++ === 0 ? 1 : 0
          return undefined
        },
      }
      const proxy = yield* S3.proxy(server.endpoint, options)
      yield* Effect.gen(function* () {
        const store = yield* BlobStore
        yield* store.verify(yield* store.putBytes(randomBytes(9 * mebi), "a/b"))
        assert.strictEqual(proxy.faults.get("lost"), 1)
        assert.deepInclude(uploadsIn(proxy.requests), { begun: 1, removed: 0 })
      }).pipe(Effect.provide(at(S3.locationAt(proxy.endpoint, newPrefix()), join(folder, "cache"))))
    }),
  )

  it.live("a large file that becomes shorter while it is uploaded is no object", () =>
    Effect.gen(function* () {
      const folder = yield* S3.temporary
      const path = join(folder, "talk.mp4")
      const proxy = yield* S3.proxy(server.endpoint, {
        answer: (method, url) => {
          // In the last part, so that there are as many.
          if (method === "POST" && url.includes("?uploads")) fs.truncateSync(path, 59 * mebi)
          return undefined
        },
      })
      fs.writeFileSync(path, randomBytes(60 * mebi))
      yield* Effect.gen(function* () {
        const store = yield* BlobStore
        const error = yield* Effect.flip(store.reference(path, "video/mp4"))
        assert.strictEqual(error._tag, "SourceUnreadable")
        assert.deepInclude(uploadsIn(proxy.requests), { begun: 1, completed: 0, removed: 1 })
        assert.deepEqual(yield* Stream.runCollect(store.list()), [])
      }).pipe(Effect.provide(at(S3.locationAt(proxy.endpoint, newPrefix()), join(folder, "cache"))))
    }),
  )
})
