import { createHash } from "node:crypto"
import fs from "node:fs"
import os from "node:os"
import { join } from "node:path"
import { afterAll, assert, beforeAll, describe, it, vi } from "@effect/vitest"
import { Effect, Exit, Fiber, Layer, Option, Schema, Scope, Stream } from "effect"
import { TestClock } from "effect/testing"
import {
  Artifact,
  artifactsIn,
  BlobStore,
  BlobStoreFs,
  BlobStoreMemory,
  BlobStoreS3,
  Scratch,
} from "../src/index.ts"
import * as S3 from "./s3.ts"

const sha256Of = (bytes: Uint8Array): string => createHash("sha256").update(bytes).digest("hex")
const textBytes = (text: string): Uint8Array => new TextEncoder().encode(text)

/** Bytes that look random but are the same on every run. */
const noise = (length: number, seed = 1): Uint8Array => {
  const bytes = new Uint8Array(length)
  let state = seed >>> 0 || 1
  for (let index = 0; index < length; index++) {
    state ^= state << 13
    state ^= state >>> 17
    state ^= state << 5
    bytes[index] = state
  }
  return bytes
}

const temporary = Effect.acquireRelease(
  Effect.sync(() => fs.mkdtempSync(join(os.tmpdir(), "reelgraph-test-"))),
  (path) => Effect.sync(() => fs.rmSync(path, { recursive: true, force: true })),
)

const aged = (path: string, seconds: number) => fs.utimesSync(path, seconds, seconds)

const artifactOf = (digit: string) =>
  Artifact.make({ sha256: digit.repeat(64), bytes: 1, mediaType: "video/mp4" })

/** A kind of store to hold to the laws, and a way to damage what it holds. */
interface Subject {
  readonly layer: Layer.Layer<BlobStore | Scratch, unknown>
  readonly damage: (sha256: string, change: (bytes: Uint8Array) => Uint8Array) => void
  /** It keeps content on other machines: by their clock, with a copy here, and registered files as well. */
  readonly isRemote?: boolean
}

// Nothing waits for it, and others work here too.
vi.setConfig({ testTimeout: 60_000 })

let server: S3.Server
beforeAll(async () => void (server = await S3.start()))
afterAll(() => server.close())
let stores = 0

const subjects: Record<string, (folder: string) => Subject> = {
  BlobStoreFs: (folder) => ({
    layer: BlobStoreFs.layer(join(folder, "store"), { durability: "none" }),
    damage: (sha256, change) => {
      const path = join(folder, "store/blobs", sha256.slice(0, 2), sha256.slice(2))
      const bytes = fs.readFileSync(path)
      fs.chmodSync(path, 0o644)
      fs.writeFileSync(path, change(bytes))
    },
  }),
  BlobStoreMemory: () => {
    const blobs = new Map<string, BlobStoreMemory.MemoryBlob>()
    return {
      layer: BlobStoreMemory.layerFrom(blobs),
      damage: (sha256, change) => {
        const blob = blobs.get(sha256)
        assert(blob !== undefined)
        blobs.set(sha256, { ...blob, bytes: new Uint8Array(change(blob.bytes)) })
      },
    }
  },
  BlobStoreS3: (folder) => {
    const prefix = `laws/${stores++}`
    const cache = join(folder, "cache")
    return {
      layer: Layer.suspend(() =>
        BlobStoreS3.layer(server.location(prefix), { cache, durability: "none", pauseMs: 1 }),
      ),
      damage: (sha256, change) => {
        const key = `${sha256.slice(0, 2)}/${sha256.slice(2)}`
        const path = server.pathOf(`${prefix}/blobs/${key}`)
        fs.writeFileSync(path, change(fs.readFileSync(path)))
        fs.rmSync(join(cache, "blobs", key), { force: true })
      },
      isRemote: true,
    }
  },
}

for (const [name, make] of Object.entries(subjects)) {
  /** Runs a law against a store of its own in a folder of its own. */
  const law = <A, E>(
    body: (
      store: BlobStore["Service"],
      subject: Subject,
      folder: string,
    ) => Effect.Effect<A, E, BlobStore | Scratch | Scope.Scope>,
  ) =>
    Effect.gen(function* () {
      const folder = yield* temporary
      const subject = make(folder)
      return yield* Effect.provide(
        BlobStore.use((store) => body(store, subject, folder)),
        subject.layer,
      )
    })

  const runs = { arbitrary: { runs: name === "BlobStoreS3" ? 10 : 100 } }

  describe(name, () => {
    it.effect.prop(
      "get after put is identity, under the sha256 of the bytes",
      [Schema.Uint8Array],
      ([bytes]) =>
        law((store) =>
          Effect.gen(function* () {
            const artifact = yield* store.putBytes(bytes, "application/octet-stream")
            assert.strictEqual(artifact.sha256, sha256Of(bytes))
            assert.strictEqual(artifact.bytes, bytes.length)
            assert.deepEqual(yield* store.get(artifact), new Uint8Array(bytes))
            assert.isTrue(yield* store.has(artifact.sha256))
            assert.deepEqual(yield* store.kind(artifact.sha256), Option.some("blob"))
          }),
        ),
      runs,
    )

    it.effect.prop(
      "a stream's blob does not depend on how it was chunked",
      [Schema.Array(Schema.Uint8Array)],
      ([chunks]) =>
        law((store) =>
          Effect.gen(function* () {
            const whole = new Uint8Array(Buffer.concat(chunks))
            const streamed = yield* store.putStream(Stream.fromIterable(chunks), "a/b")
            assert.deepEqual(streamed, yield* store.putBytes(whole, "a/b"))
            assert.deepEqual(yield* store.get(streamed), whole)
          }),
        ),
      runs,
    )

    for (const length of [0, 1, 65_536, 65_537, 1_048_576, 3_000_001]) {
      it.effect(`get, stream, localPath and putFile agree on ${length} bytes`, () =>
        law((store, _subject, folder) =>
          Effect.gen(function* () {
            const bytes = noise(length)
            const file = join(folder, "file.bin")
            fs.writeFileSync(file, bytes)
            const artifact = yield* store.putFile(file, "a/b")
            assert.deepEqual(artifact, yield* store.putBytes(bytes, "a/b"))
            assert.isTrue(fs.existsSync(file))
            assert.isTrue(Buffer.from(bytes).equals(yield* store.get(artifact)))
            const chunks = yield* Stream.runCollect(store.stream(artifact))
            assert.isTrue(Buffer.concat(chunks).equals(bytes))
            assert.isTrue(chunks.every((chunk) => chunk.length > 0 && chunk.length <= 1_048_576))
            assert.isTrue(fs.readFileSync(yield* store.localPath(artifact)).equals(bytes))
            yield* store.verify(artifact)
          }),
        ),
      )
    }

    it.effect("putting twice keeps one blob and makes it new", () =>
      law((store, subject) =>
        Effect.gen(function* () {
          yield* TestClock.setTime(1_000_000)
          const first = yield* store.putBytes(textBytes("same"), "text/plain")
          yield* TestClock.setTime(9_000_000)
          assert.deepEqual(yield* store.putBytes(textBytes("same"), "text/plain"), first)
          const listed = yield* Stream.runCollect(store.list())
          const mtimeMs = subject.isRemote === true ? listed[0]!.mtimeMs : 9_000_000
          assert.deepEqual(listed, [{ sha256: first.sha256, bytes: 4, mtimeMs, kind: "blob" as const }])
        }),
      ),
    )

    it.live("many writers of the same and of different blobs", () =>
      law((store) =>
        Effect.gen(function* () {
          const put = (index: number) =>
            index % 2 === 0
              ? store.putBytes(noise(5000, 1 + (index % 8)), "a/b")
              : store.putStream(Stream.make(noise(5000, index % 8)), "a/b")
          const artifacts = yield* Effect.forEach(Array.from({ length: 64 }).keys(), put, {
            concurrency: 16,
          })
          const distinct = new Set(artifacts.map((artifact) => artifact.sha256))
          assert.strictEqual((yield* Stream.runCollect(store.list())).length, distinct.size)
          yield* Effect.forEach(artifacts, (artifact) => store.verify(artifact))
        }),
      ),
    )

    it.effect(
      "a blob damaged at equal length is found by every read, is missing then, and can be made anew",
      () =>
        law((store, subject) =>
          Effect.gen(function* () {
            for (const length of [100, 2_000_000]) {
              const bytes = noise(length)
              const artifact = yield* store.putBytes(bytes, "a/b")
              const reads = {
                verify: store.verify(artifact),
                get: store.get(artifact),
                stream: Stream.runDrain(store.stream(artifact)),
                localPath: Effect.scoped(store.localPath(artifact)),
              }
              for (const [name, read] of Object.entries(reads)) {
                yield* read
                subject.damage(artifact.sha256, (was) => was.with(length - 1, (was[length - 1] ?? 0) ^ 1))
                const error: { readonly _tag: string; readonly message: string } = yield* Effect.flip(
                  read as Effect.Effect<unknown, any>,
                )
                assert.strictEqual(error._tag, "BlobCorrupt", name)
                assert.include(error.message, "it was moved to ", name)
                assert.isFalse(yield* store.has(artifact.sha256), name)
                assert.deepEqual(yield* store.putBytes(bytes, "a/b"), artifact)
                yield* store.verify(artifact)
              }
            }
          }),
        ),
    )

    it.effect("a damaged blob is not looked at by who says so, unless it is downloaded", () =>
      law((store, subject) =>
        Effect.gen(function* () {
          const artifact = yield* store.putBytes(noise(100), "a/b")
          subject.damage(artifact.sha256, (bytes) => bytes.with(99, (bytes[99] ?? 0) ^ 1))
          if (subject.isRemote === true) return
          assert.strictEqual((yield* store.get(artifact, { verify: false })).length, 100)
          yield* Stream.runDrain(store.stream(artifact, { verify: false }))
        }),
      ),
    )

    it.effect("putting the bytes of a blob that is damaged at equal length mends it", () =>
      law((store, subject) =>
        Effect.gen(function* () {
          const bytes = noise(1000)
          const artifact = yield* store.putBytes(bytes, "a/b")
          subject.damage(artifact.sha256, (was) => was.with(7, (was[7] ?? 0) ^ 1))
          // A bucket's own content is compared when it is read.
          if (subject.isRemote === true) return
          yield* store.putBytes(bytes, "a/b")
          yield* store.verify(artifact)
        }),
      ),
    )

    it.effect("a wrong length told of an intact blob costs it nothing", () =>
      law((store) =>
        Effect.gen(function* () {
          const artifact = yield* store.putBytes(noise(100), "a/b")
          const told = { sha256: artifact.sha256, bytes: 99 }
          assert.strictEqual((yield* Effect.flip(store.get(told)))._tag, "BlobCorrupt")
          assert.deepEqual([...(yield* store.hasAll([told]))], [])
          assert.deepEqual([...(yield* store.hasAll([artifact]))], [artifact.sha256])
          yield* store.verify(artifact)
        }),
      ),
    )

    it.effect("a shortened blob is found without hashing, and putting it again mends it", () =>
      law((store, subject) =>
        Effect.gen(function* () {
          const artifact = yield* store.putBytes(noise(100), "a/b")
          subject.damage(artifact.sha256, (bytes) => bytes.slice(0, 99))
          const error = yield* Effect.flip(store.get(artifact, { verify: false }))
          assert.strictEqual(error._tag, "BlobCorrupt")
          yield* store.putBytes(noise(100), "a/b")
          yield* store.verify(artifact)
        }),
      ),
    )

    it.effect("what is missing, too large or not a digest is a typed error", () =>
      law((store) =>
        Effect.gen(function* () {
          const absent = { sha256: "0".repeat(64) }
          const tags = [
            (yield* Effect.flip(store.get(absent)))._tag,
            (yield* Effect.flip(store.verify(absent)))._tag,
            (yield* Effect.flip(Effect.scoped(store.localPath(absent))))._tag,
            (yield* Effect.flip(Stream.runDrain(store.stream(absent))))._tag,
          ]
          assert.deepEqual(new Set(tags), new Set(["BlobMissing"]))
          for (const sha256 of ["", "../../../etc/passwd", "AB".repeat(32), `${"0".repeat(63)}/`]) {
            assert.strictEqual((yield* Effect.flip(store.get({ sha256 })))._tag, "DigestInvalid")
            assert.strictEqual((yield* Effect.flip(store.has(sha256)))._tag, "DigestInvalid")
            assert.strictEqual((yield* Effect.flip(store.hasAll([sha256])))._tag, "DigestInvalid")
            assert.strictEqual((yield* Effect.flip(store.remove(sha256)))._tag, "DigestInvalid")
          }
          const artifact = yield* store.putBytes(noise(101), "a/b")
          const error = yield* Effect.flip(store.get(artifact, { maxBytes: 100 }))
          assert.strictEqual(error._tag, "BlobTooLarge")
          assert.strictEqual((yield* store.get(artifact, { maxBytes: 101 })).length, 101)
        }),
      ),
    )

    it.effect("hasAll names those present; remove is idempotent", () =>
      law((store) =>
        Effect.gen(function* () {
          const kept = yield* store.putBytes(noise(10, 1), "a/b")
          const gone = yield* store.putBytes(noise(10, 2), "a/b")
          yield* store.remove(gone.sha256)
          yield* store.remove(gone.sha256)
          const present = yield* store.hasAll([kept.sha256, gone.sha256, "f".repeat(64)])
          assert.deepEqual([...present], [kept.sha256])
        }),
      ),
    )

    it.effect("a stream that fails or is interrupted leaves nothing", () =>
      law((store) =>
        Effect.gen(function* () {
          const failing = Stream.concat(Stream.make(noise(200_000)), Stream.fail("no more" as const))
          assert.strictEqual(yield* Effect.flip(store.putStream(failing, "a/b")), "no more")
          const endless = Stream.concat(Stream.make(noise(200_000)), Stream.never)
          const fiber = yield* Effect.forkChild(store.putStream(endless, "a/b"), { startImmediately: true })
          yield* Effect.yieldNow
          yield* Fiber.interrupt(fiber)
          assert.deepEqual(yield* Stream.runCollect(store.list()), [])
        }),
      ),
    )

    it.effect("putFile with move takes the file, without it or through a link leaves it", () =>
      law((store) =>
        Effect.gen(function* () {
          const scratch = yield* Scratch.use((service) => service.directory)
          const [moved, linked, target] = ["moved", "linked", "target"].map((file) => join(scratch, file))
          assert(moved !== undefined && linked !== undefined && target !== undefined)
          fs.writeFileSync(moved, noise(300_000, 3))
          const artifact = yield* store.putFile(moved, "a/b", { move: true })
          assert.isFalse(fs.existsSync(moved))
          assert.strictEqual(artifact.sha256, sha256Of(noise(300_000, 3)))
          yield* store.verify(artifact)

          fs.writeFileSync(target, noise(300_000, 4))
          fs.symlinkSync(target, linked)
          const copied = yield* store.putFile(linked, "a/b", { move: true })
          assert.isFalse(fs.existsSync(linked))
          fs.writeFileSync(target, "changed")
          yield* store.verify(copied)

          const missing = yield* Effect.flip(store.putFile(join(scratch, "none"), "a/b"))
          assert.strictEqual(missing._tag, "SourceMissing")
          const folder = yield* Effect.flip(store.putFile(scratch, "a/b"))
          assert.strictEqual(folder._tag, "SourceUnreadable")
        }),
      ),
    )

    it.effect("a scratch folder is unique, and gone with its scope", () =>
      law(() =>
        Effect.gen(function* () {
          const scope = yield* Scope.make()
          const directory = Scratch.use((service) => service.directory).pipe(Scope.provide(scope))
          const [one, two] = [yield* directory, yield* directory]
          assert.notStrictEqual(one, two)
          fs.mkdirSync(join(one, "deep/er"), { recursive: true })
          fs.writeFileSync(join(one, "deep/er/file"), "x", { mode: 0o444 })
          yield* Scope.close(scope, Exit.void)
          assert.isFalse(fs.existsSync(one) || fs.existsSync(two))
        }),
      ),
    )

    describe.skipIf(make(os.tmpdir()).isRemote === true)("reference", () => {
      const recent = 2_000_000_000_000 // ms, far after every file time here

      it.effect("an external file reads like a blob and is not copied", () =>
        law((store, _subject, folder) =>
          Effect.gen(function* () {
            const path = join(folder, "source.mp4")
            fs.writeFileSync(path, noise(1_500_000))
            const artifact = yield* store.reference(path, "video/mp4")
            assert.deepEqual(artifact, {
              _tag: "Artifact",
              sha256: sha256Of(noise(1_500_000)),
              bytes: 1_500_000,
              mediaType: "video/mp4",
            })
            assert.isTrue(Buffer.from(noise(1_500_000)).equals(yield* store.get(artifact)))
            assert.strictEqual(yield* store.localPath(artifact), path)
            yield* store.verify(artifact)
            const [info, ...more] = yield* Stream.runCollect(store.list())
            assert.deepEqual([info?.kind, info?.sha256, more], ["reference", artifact.sha256, []])
            assert.deepEqual(yield* store.kind(artifact.sha256), Option.some("reference"))
            yield* store.remove(artifact.sha256)
            assert.isFalse(yield* store.has(artifact.sha256))
            assert.isTrue(fs.existsSync(path))
          }),
        ),
      )

      it.effect(
        "a changed or missing source is told by name, and another place of the same content serves",
        () =>
          law((store, _subject, folder) =>
            Effect.gen(function* () {
              const [first, second] = [join(folder, "first.mp4"), join(folder, "second.mp4")]
              fs.writeFileSync(first, noise(1000))
              fs.copyFileSync(first, second)
              const artifact = yield* store.reference(first, "video/mp4")
              fs.writeFileSync(first, noise(1001))
              const changed = yield* Effect.flip(store.get(artifact))
              assert.strictEqual(changed._tag, "SourceChanged")
              assert.include(changed.message, first)
              fs.rmSync(first)
              const missing = yield* Effect.flip(store.get(artifact))
              assert.strictEqual(missing._tag, "SourceMissing")
              assert.include(missing.message, first)
              assert.isFalse(yield* store.has(artifact.sha256))
              assert.deepEqual(yield* store.reference(second, "video/mp4"), artifact)
              assert.isTrue(yield* store.has(artifact.sha256))
              assert.strictEqual((yield* store.get(artifact)).length, 1000)
            }),
          ),
      )

      it.effect("content edited under the same size and time is found when it is read", () =>
        law((store, _subject, folder) =>
          Effect.gen(function* () {
            const path = join(folder, "source.mp4")
            fs.writeFileSync(path, noise(1000, 1))
            aged(path, 1_600_000_000)
            const artifact = yield* store.reference(path, "video/mp4")
            fs.writeFileSync(path, noise(1000, 2))
            aged(path, 1_600_000_000)
            assert.strictEqual((yield* Effect.flip(store.get(artifact)))._tag, "SourceChanged")
            assert.strictEqual((yield* Effect.flip(store.verify(artifact)))._tag, "SourceChanged")
          }),
        ),
      )

      it.effect("not a file, not there", () =>
        law((store, _subject, folder) =>
          Effect.gen(function* () {
            const gone = yield* Effect.flip(store.reference(join(folder, "none"), "a/b"))
            assert.strictEqual(gone._tag, "SourceMissing")
            const notFile = yield* Effect.flip(store.reference(folder, "a/b"))
            assert.strictEqual(notFile._tag, "SourceUnreadable")
          }),
        ),
      )

      it.effect(
        "an edit that keeps size, time and inode is found: change time, and racily clean entries",
        () =>
          law((store, _subject, folder) =>
            Effect.gen(function* () {
              const path = join(folder, "source.mp4")
              const write = (seed: number) => {
                fs.writeFileSync(path, noise(1000, seed))
                aged(path, 1_600_000_000)
                return sha256Of(noise(1000, seed))
              }
              yield* TestClock.setTime(recent)
              const before = write(1)
              assert.strictEqual((yield* store.reference(path, "a/b")).sha256, before)
              const after = write(2)
              assert.strictEqual((yield* store.reference(path, "a/b")).sha256, after)
            }),
          ),
      )
    })
  })
}

describe("Artifact", () => {
  it("artifactsIn finds each once, however deep, in order", () => {
    let deep: unknown = artifactOf("c")
    for (let depth = 0; depth < 100_000; depth++) deep = [deep]
    const json = {
      clip: artifactOf("a"),
      list: [artifactOf("b"), { again: artifactOf("a") }],
      deep,
      none: null,
    }
    assert.deepEqual(
      artifactsIn(json).map((found) => found.sha256[0]),
      ["a", "b", "c"],
    )
  })

  it("artifactsIn leaves out what only looks like one", () => {
    const broken = [
      { ...artifactOf("a"), sha256: "../x" },
      { ...artifactOf("a"), bytes: -1 },
      { ...artifactOf("a"), bytes: 0.5 },
      { ...artifactOf("a"), _tag: "Clip" },
      "Artifact",
      7,
    ]
    assert.deepEqual(artifactsIn(broken), [])
    for (const value of broken) {
      assert.isTrue(Option.isNone(Schema.decodeUnknownOption(Artifact)(value)))
    }
  })
})
