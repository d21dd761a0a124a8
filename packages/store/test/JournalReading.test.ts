/** Journals that this user may only read: by a process without leave to write them. */
import { spawnSync } from "node:child_process"
import fs from "node:fs"
import os from "node:os"
import { join } from "node:path"
import { fileURLToPath } from "node:url"
import { gunzipSync } from "node:zlib"

import { assert, describe, it } from "@effect/vitest"
import * as Effect from "effect/Effect"

import { Journal, JournalAt, JournalSqlite } from "../src/index.ts"
import { lineageOfOld, rightOfOld } from "./sharing.ts"

const script = fileURLToPath(new URL("readingProcess.ts", import.meta.url))

/** A folder for a store. Others may read what is in it, and its owner may not write it once it is closed. */
const temporary = Effect.acquireRelease(
  Effect.sync(() => {
    const folder = fs.mkdtempSync(join(os.tmpdir(), "reelgraph-reading-"))
    fs.chmodSync(folder, 0o755)
    return folder
  }),
  (path) =>
    Effect.sync(() => {
      fs.chmodSync(path, 0o700)
      fs.rmSync(path, { recursive: true, force: true })
    }),
)

const files = (folder: string): ReadonlyArray<string> => fs.readdirSync(folder).sort()

/** Takes away the leave to write a folder and what is in it. */
const close = (folder: string): void => {
  for (const name of files(folder)) fs.chmodSync(join(folder, name), 0o444)
  fs.chmodSync(folder, 0o555)
}

/** What a process reads to which permissions mean something: those of the superuser are somebody else's. */
const readBy = (folder: string): { readonly runs?: ReadonlyArray<unknown>; readonly error?: string } => {
  const before = files(folder)
  const others = process.getuid?.() === 0 ? { uid: 65_534, gid: 65_534 } : {}
  const ended = spawnSync(process.execPath, [script, join(folder, "journal.db")], {
    ...others,
    encoding: "utf8",
  })
  assert.strictEqual(ended.status, 0, ended.stderr)
  assert.deepStrictEqual(files(folder), before)
  return JSON.parse(ended.stdout)
}

const item = (n: number) => ({
  digest: n.toString(16).padStart(64, "0"),
  record: `{"n":${n}}`,
  artifacts: [],
})

const run = (name: string, count: number) =>
  Journal.use((journal) =>
    Effect.gen(function* () {
      const id = yield* journal.beginRun({
        name,
        graph: "g",
        version: "1",
        digest: "",
        definition: "{}",
        startedMs: 1,
        nodes: [],
      })
      yield* journal.items(
        id,
        "in",
        Array.from({ length: count }, (_, n) => item(n)),
      )
    }),
  )

describe("a journal that may only be read", { timeout: 60_000 }, () => {
  it.live("is read when the last process has closed it", () =>
    Effect.gen(function* () {
      const folder = yield* temporary
      yield* Effect.provide(run("one", 3), JournalSqlite.layer(join(folder, "journal.db")))
      assert.deepStrictEqual(files(folder), ["journal.db"])
      close(folder)
      assert.deepStrictEqual(readBy(folder), { runs: [["one", 3]] })
    }),
  )

  it.live("is read with all that is committed while another process writes it", () =>
    Effect.gen(function* () {
      const folder = yield* temporary
      yield* Effect.gen(function* () {
        yield* run("one", 3)
        close(folder)
        assert.deepStrictEqual(readBy(folder), { runs: [["one", 3]] })
        yield* run("two", 5)
        assert.deepStrictEqual(readBy(folder), {
          runs: [
            ["one", 3],
            ["two", 5],
          ],
        })
      }).pipe(Effect.provide(JournalSqlite.layer(join(folder, "journal.db"))))
    }),
  )

  for (const shm of [true, false])
    it.live(`is read as a killed process left it, ${shm ? "with" : "without"} its shared memory`, () =>
      Effect.gen(function* () {
        const folder = yield* temporary
        const left = yield* temporary
        yield* Effect.gen(function* () {
          yield* run("one", 3)
          for (const name of files(folder))
            if (shm || !name.endsWith("-shm")) fs.copyFileSync(join(folder, name), join(left, name))
        }).pipe(Effect.provide(JournalSqlite.layer(join(folder, "journal.db"))))
        assert.include(files(left), "journal.db-wal")
        close(left)
        assert.deepStrictEqual(readBy(left), { runs: [["one", 3]] })
      }),
    )

  it.live("of an earlier format is read, and stays as it is", () =>
    Effect.gen(function* () {
      const folder = yield* temporary
      const file = join(folder, "journal.db")
      const bytes = gunzipSync(fs.readFileSync(new URL("journals/version-3.db.gz", import.meta.url)))
      fs.writeFileSync(file, bytes)
      close(folder)
      const { runs } = readBy(folder)
      assert.lengthOf(runs!, 1)
      assert.isTrue(fs.readFileSync(file).equals(bytes))
    }),
  )

  it.live("is brought to this format where it may be written, without a thread that writes", () =>
    Effect.gen(function* () {
      const file = join(yield* temporary, "journal.db")
      fs.writeFileSync(
        file,
        gunzipSync(fs.readFileSync(new URL("journals/version-3.db.gz", import.meta.url))),
      )
      const told = yield* Effect.provide(
        Effect.gen(function* () {
          const journal = yield* Journal
          const refused = yield* Effect.flip(run("two", 1))
          assert.strictEqual(refused._tag, "JournalError")
          assert.include(refused.message, "it is open for reading alone")
          return lineageOfOld(journal)
        }),
        JournalSqlite.layerReading(file),
      )
      assert.deepStrictEqual(told, rightOfOld)
    }),
  )

  it.live("that may not even be read is one sentence that says whom to ask", () =>
    Effect.gen(function* () {
      const folder = yield* temporary
      yield* Effect.provide(run("one", 3), JournalSqlite.layer(join(folder, "journal.db")))
      fs.chmodSync(join(folder, "journal.db"), 0o000)
      const { error } = readBy(folder)
      assert.include(error, "ask the owner of")
      fs.chmodSync(join(folder, "journal.db"), 0o644)
      fs.chmodSync(folder, 0o700)
    }),
  )

  it.live("that is not there is no store", () =>
    Effect.gen(function* () {
      const folder = yield* temporary
      const error = yield* Effect.flip(Effect.provide(Effect.void, JournalAt.layerReading(folder)))
      assert.strictEqual(error._tag, "JournalMissing")
      assert.deepStrictEqual(files(folder), [])
    }),
  )
})
