import { type ChildProcess, spawn, spawnSync } from "node:child_process"
import { createHash } from "node:crypto"
import fs from "node:fs"
import os from "node:os"
import { join } from "node:path"
import { fileURLToPath } from "node:url"
import { assert, describe, it } from "@effect/vitest"
import { Effect, Stream } from "effect"
import { TestClock } from "effect/testing"
import { BlobStore, BlobStoreFs, Scratch } from "../src/index.ts"

const sha256Of = (bytes: Uint8Array): string => createHash("sha256").update(bytes).digest("hex")
const bytesOf = (text: string): Uint8Array => new TextEncoder().encode(text)

const temporary = Effect.acquireRelease(
  Effect.sync(() => fs.mkdtempSync(join(os.tmpdir(), "reelgraph-test-"))),
  (path) => Effect.sync(() => fs.rmSync(path, { recursive: true, force: true })),
)

const open = <A, E, R>(root: string, body: (store: BlobStore["Service"]) => Effect.Effect<A, E, R>) =>
  Effect.provide(
    BlobStore.use((store) => body(store)),
    BlobStoreFs.layer(root, { durability: "none" }),
  )

const opening = (root: string) => open(root, () => Effect.void)

describe("a path to a blob", () => {
  it.effect("is of content that was hashed once, and again when the file has changed", () =>
    Effect.gen(function* () {
      const root = join(yield* temporary, "store")
      yield* open(root, (store) =>
        Effect.gen(function* () {
          const { sha256 } = yield* store.putBytes(bytesOf("whole"), "a/b")
          const path = join(root, "blobs", sha256.slice(0, 2), sha256.slice(2))
          const { atimeMs, mtimeMs } = fs.statSync(path)
          assert.strictEqual(yield* store.localPath({ sha256 }), path)
          // Of equal length and under its old time: its change time gives it away.
          fs.chmodSync(path, 0o644)
          fs.writeFileSync(path, "whale")
          fs.utimesSync(path, atimeMs / 1000, mtimeMs / 1000)
          const error = yield* Effect.flip(store.localPath({ sha256 }))
          assert.strictEqual(error._tag, "BlobCorrupt")
          const [damaged = ""] = fs.readdirSync(join(root, "damaged"))
          assert.isTrue(damaged.startsWith(sha256))
          assert.strictEqual(fs.readFileSync(join(root, "damaged", damaged), "utf8"), "whale")
          assert.strictEqual((yield* Effect.flip(store.localPath({ sha256 })))._tag, "BlobMissing")
        }),
      )
    }).pipe(Effect.scoped),
  )

  it.effect("a registered file that was rewritten under its old time is found", () =>
    Effect.gen(function* () {
      const folder = yield* temporary
      const source = join(folder, "talk.mp4")
      fs.writeFileSync(source, "before")
      fs.utimesSync(source, 1e9, 1e9)
      yield* open(join(folder, "store"), (store) =>
        Effect.gen(function* () {
          const artifact = yield* store.reference(source, "video/mp4")
          assert.strictEqual(yield* store.localPath(artifact), source)
          fs.writeFileSync(source, "behind")
          fs.utimesSync(source, 1e9, 1e9)
          assert.strictEqual((yield* Effect.flip(store.localPath(artifact)))._tag, "SourceChanged")
          // It is nobody's to move.
          assert.strictEqual(fs.readFileSync(source, "utf8"), "behind")
        }),
      )
    }).pipe(Effect.scoped),
  )
})

describe("opening a store", () => {
  it.effect("makes a folder that is not there, and opens it again", () =>
    Effect.gen(function* () {
      const root = join(yield* temporary, "deep/er")
      const artifact = yield* open(root, (store) => store.putBytes(bytesOf("x"), "a/b"))
      const written = JSON.parse(fs.readFileSync(join(root, "store.json"), "utf8"))
      assert.deepInclude(written, { format: "reelgraph-store", version: 1 })
      assert.isTrue(yield* open(root, (store) => store.has(artifact.sha256)))
      assert.deepEqual(fs.readdirSync(join(root, "tmp")), [])
    }),
  )

  it.effect("flushing to disk changes nothing that can be seen", () =>
    Effect.gen(function* () {
      const root = join(yield* temporary, "store")
      const body = BlobStore.use((store) =>
        Effect.andThen(store.putBytes(bytesOf("x"), "a/b"), (artifact) => store.get(artifact)),
      )
      assert.deepEqual(yield* Effect.provide(body, BlobStoreFs.layer(root)), bytesOf("x"))
    }),
  )

  it.effect("refuses a folder of other files and leaves it alone, unless it is named .reel", () =>
    Effect.gen(function* () {
      const folder = yield* temporary
      fs.writeFileSync(join(folder, "holiday.mp4"), "x")
      const error = yield* Effect.flip(opening(folder))
      assert.strictEqual(error._tag, "NotAStore")
      assert.include(error.message, "holiday.mp4")
      assert.deepEqual(fs.readdirSync(folder), ["holiday.mp4"])
      const named = join(folder, ".reel")
      fs.mkdirSync(named)
      fs.writeFileSync(join(named, "pools.json"), "{}")
      yield* opening(named)
    }),
  )

  it.effect("may share its folder with the other caches of this user", () =>
    Effect.gen(function* () {
      const folder = yield* temporary
      for (const name of ["compiled", "keys", "stores"]) fs.mkdirSync(join(folder, name))
      fs.writeFileSync(join(folder, "syntax.json"), "[]")
      yield* opening(folder)
    }),
  )

  it.effect("goes on where a first opening was killed", () =>
    Effect.gen(function* () {
      const folder = yield* temporary
      fs.writeFileSync(join(folder, "store.json.0123abcd.1.1.0.0"), '{"form')
      fs.mkdirSync(join(folder, "tmp"))
      yield* opening(folder)
    }),
  )

  it.effect("a newer store says what it needs, a strange one that it is strange", () =>
    Effect.gen(function* () {
      const folder = yield* temporary
      const file = join(folder, "store.json")
      fs.writeFileSync(file, '{"format":"reelgraph-store","version":2,"requires":">=0.9.0","more":1}')
      const newer = yield* Effect.flip(opening(folder))
      assert.strictEqual(newer._tag, "StoreVersionUnsupported")
      assert.include(newer.message, ">=0.9.0")
      for (const text of ["", "{}", '{"format":"other","version":1}']) {
        fs.writeFileSync(file, text)
        assert.strictEqual((yield* Effect.flip(opening(folder)))._tag, "NotAStore")
      }
      assert.deepEqual(fs.readdirSync(folder), ["store.json"])
    }),
  )

  it.effect("a path that is a file, or below one, is unwritable", () =>
    Effect.gen(function* () {
      const file = join(yield* temporary, "file")
      fs.writeFileSync(file, "x")
      for (const path of [file, join(file, "below")]) {
        const error = yield* Effect.flip(opening(path))
        assert.strictEqual(error._tag, "StoreUnwritable")
        assert.include(error.message, path)
      }
    }),
  )
})

describe("the files of a store", () => {
  it.effect("blobs are read-only, fanned out, and written nowhere else", () =>
    Effect.gen(function* () {
      const root = join(yield* temporary, "store")
      const scratchFile = join(root, "large")
      yield* open(root, (store) =>
        Effect.gen(function* () {
          fs.writeFileSync(scratchFile, "moved")
          yield* store.putFile(scratchFile, "a/b", { move: true })
          yield* store.putBytes(bytesOf("put"), "a/b")
        }),
      )
      for (const text of ["moved", "put"]) {
        const sha256 = sha256Of(bytesOf(text))
        const status = fs.statSync(join(root, "blobs", sha256.slice(0, 2), sha256.slice(2)))
        assert.strictEqual(status.mode & 0o777, 0o400)
      }
      assert.deepEqual(fs.readdirSync(join(root, "tmp")), [])
    }),
  )

  it.effect("moving a file in keeps its inode: it is not copied", () =>
    Effect.gen(function* () {
      const root = join(yield* temporary, "store")
      yield* open(root, (store) =>
        Effect.gen(function* () {
          const path = join(root, "tmp", "large")
          fs.writeFileSync(path, "large")
          const { ino } = fs.statSync(path)
          const artifact = yield* store.putFile(path, "a/b", { move: true })
          assert.strictEqual(fs.statSync(yield* store.localPath(artifact)).ino, ino)
        }),
      )
    }),
  )

  const otherDisk = "/dev/shm"
  const hasOtherDisk = fs.existsSync(otherDisk) && fs.statSync(otherDisk).dev !== fs.statSync(os.tmpdir()).dev

  it.effect.skipIf(!hasOtherDisk)("moving a file in from another file system copies and removes it", () =>
    Effect.gen(function* () {
      const root = join(yield* temporary, "store")
      const folder = yield* Effect.acquireRelease(
        Effect.sync(() => fs.mkdtempSync(join(otherDisk, "reelgraph-test-"))),
        (path) => Effect.sync(() => fs.rmSync(path, { recursive: true, force: true })),
      )
      yield* open(root, (store) =>
        Effect.gen(function* () {
          const path = join(folder, "large")
          fs.writeFileSync(path, "large")
          const artifact = yield* store.putFile(path, "a/b", { move: true })
          assert.isFalse(fs.existsSync(path))
          yield* store.verify(artifact)
        }),
      )
    }),
  )

  it.effect("a file with a second name is copied: it could be changed by that name", () =>
    Effect.gen(function* () {
      const root = join(yield* temporary, "store")
      yield* open(root, (store) =>
        Effect.gen(function* () {
          const [path, other] = [join(root, "tmp", "large"), join(root, "tmp", "other")]
          fs.writeFileSync(path, "large")
          fs.linkSync(path, other)
          const artifact = yield* store.putFile(path, "a/b", { move: true })
          assert.isFalse(fs.existsSync(path))
          fs.writeFileSync(other, "LARGE")
          yield* store.verify(artifact)
        }),
      )
    }),
  )

  it.effect("what dead processes left is swept at opening, what is alive stays", () =>
    Effect.gen(function* () {
      const root = join(yield* temporary, "store")
      yield* Effect.gen(function* () {
        const mine = yield* Scratch.use((service) => service.directory)
        const [place, pid, start] = mine.slice(mine.lastIndexOf("/") + 1).split(".")
        const dead = spawnSync(process.execPath, ["--version"]).pid
        const names = {
          dead: `${place}.${dead}.1.0.0`,
          reused: `${place}.${pid}.${Number(start) + 1}.0.0`,
          elsewhere: `00000000.${dead}.1.0.0`,
          elsewhereOld: `00000000.${dead}.1.0.1`,
        }
        for (const name of Object.values(names)) {
          fs.mkdirSync(join(root, "tmp", name))
          fs.writeFileSync(join(root, "tmp", name, "file"), "x")
        }
        const now = 2_000_000_000
        yield* TestClock.setTime(now * 1000)
        fs.utimesSync(join(root, "tmp", names.elsewhere), now - 6 * 86_400, now - 6 * 86_400)
        fs.utimesSync(join(root, "tmp", names.elsewhereOld), now - 8 * 86_400, now - 8 * 86_400)
        yield* opening(root)
        const left = fs.readdirSync(join(root, "tmp")).sort()
        const expected = [names.elsewhere, mine.slice(mine.lastIndexOf("/") + 1)]
        // Only Linux tells when a process began.
        if (start === "0") expected.push(names.reused)
        assert.deepEqual(left, expected.sort())
      }).pipe(Effect.scoped, Effect.provide(BlobStoreFs.layer(root, { durability: "none" })))
      assert.strictEqual(fs.readdirSync(join(root, "tmp")).length, 1)
    }),
  )
})

describe("the stat cache of external files", () => {
  const modified = 1_600_000_000 // s
  /** Whether registering again took the digest from the cache: the cached digest is replaced by a false one. */
  const isTrusted = (hashedAtMs: (now: number) => number) =>
    Effect.gen(function* () {
      const folder = yield* temporary
      const [root, path] = [join(folder, "store"), join(folder, "source.mp4")]
      fs.writeFileSync(path, "source")
      fs.utimesSync(path, modified, modified)
      return yield* open(root, (store) =>
        Effect.gen(function* () {
          yield* TestClock.setTime(hashedAtMs(modified * 1000))
          const first = yield* store.reference(path, "a/b")
          const [name, ...more] = fs.readdirSync(join(root, "refs/by-path"))
          assert(name !== undefined && more.length === 0)
          const entry = join(root, "refs/by-path", name)
          fs.writeFileSync(entry, fs.readFileSync(entry, "utf8").replace(first.sha256, "f".repeat(64)))
          const second = yield* store.reference(path, "a/b")
          assert.include([first.sha256, "f".repeat(64)], second.sha256)
          return second.sha256 !== first.sha256
        }),
      )
    })

  it.effect("an unchanged file is not hashed again", () =>
    Effect.map(
      isTrusted((mtime) => mtime + 2000),
      (trusted) => assert.isTrue(trusted),
    ),
  )

  it.effect("a file hashed within the step of file times after its last change is hashed again", () =>
    Effect.map(
      isTrusted((mtime) => mtime + 1999),
      (trusted) => assert.isFalse(trusted),
    ),
  )

  it.effect("a file from the future is hashed again", () =>
    Effect.map(
      isTrusted((mtime) => mtime - 60_000),
      (trusted) => assert.isFalse(trusted),
    ),
  )

  it.effect("a damaged cache entry costs hashing, not a failure", () =>
    Effect.gen(function* () {
      const folder = yield* temporary
      const [root, path] = [join(folder, "store"), join(folder, "source.mp4")]
      fs.writeFileSync(path, "source")
      yield* open(root, (store) =>
        Effect.gen(function* () {
          const first = yield* store.reference(path, "a/b")
          for (const name of fs.readdirSync(join(root, "refs/by-path"))) {
            fs.writeFileSync(join(root, "refs/by-path", name), '{"source":')
          }
          assert.deepEqual(yield* store.reference(path, "a/b"), first)
        }),
      )
    }),
  )
})

describe("kill -9", () => {
  const writer = fileURLToPath(new URL("./writer.ts", import.meta.url))

  /** Starts a writer, and once it has put its first blob lets it go on for so many milliseconds. */
  const killAfter = (root: string, seed: number, ms: number) =>
    Effect.callback<void, Error>((resume) => {
      const child: ChildProcess = spawn(process.execPath, [writer, root, String(seed)], {
        stdio: ["ignore", "pipe", "inherit"],
      })
      child.stdout?.once("data", () => setTimeout(() => child.kill("SIGKILL"), ms))
      child.once("exit", (code, signal) =>
        resume(
          signal === "SIGKILL" ? Effect.void : Effect.fail(new Error(`the writer ended by itself: ${code}`)),
        ),
      )
    })

  it.live(
    "30 writers killed at different instants leave only whole blobs",
    () =>
      Effect.gen(function* () {
        const root = join(yield* temporary, "store")
        // Two at a time, in one store: 0.0 to 29.x ms after the first blob, in steps that are not whole.
        yield* Effect.forEach(Array.from({ length: 30 }).keys(), (n) => killAfter(root, n, n * 1.03), {
          concurrency: 2,
        })
        // Each writer sweeps up after those killed before it; the last one's scratch folder is still there.
        assert.isAtLeast(fs.readdirSync(join(root, "tmp")).length, 1)
        const blobs = yield* open(root, (store) =>
          Effect.gen(function* () {
            const listed = yield* Stream.runCollect(store.list())
            yield* Effect.forEach(listed, (info) => store.verify(info))
            return listed.length
          }),
        )
        assert.isAtLeast(blobs, 30)
        assert.deepEqual(fs.readdirSync(join(root, "tmp")), [])
      }),
    180_000,
  )
})
