/** Every command that opens a store, on one in a bucket. */
import { hash } from "node:crypto"
import { cpSync, existsSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { gzipSync } from "node:zlib"

import { afterAll, assert, beforeAll, describe, it } from "@effect/vitest"
import * as Effect from "effect/Effect"

import * as Plain from "../../store/test/plain.ts"
import * as S3 from "../../store/test/s3.ts"
import { example, folder, models, reel, scenes } from "./reel.ts"

// What this machine has of stores in buckets. Variables are read once.
const cache = mkdtempSync(join(tmpdir(), "reel-cli-cache-"))
process.env["REEL_CACHE"] = cache

let server: S3.Server
beforeAll(async () => void (server = await S3.start()))
afterAll(async () => {
  await server.close()
  rmSync(cache, { recursive: true })
})

describe("reel --store s3://bucket/prefix", () => {
  it.live(
    "runs, plans, shows and traces",
    () =>
      Effect.gen(function* () {
        const store = ["--store", `s3://${S3.bucket}/cli/runs?endpoint=${server.endpoint}`]
        const done = Effect.fnUntraced(function* (...args: ReadonlyArray<string>) {
          const ended = yield* reel(...args, ...store)
          assert.strictEqual(ended.code, 0, ended.stderr)
          return ended.stdout
        })
        const before = yield* reel("runs", ...store)
        assert.strictEqual(before.code, 2)
        assert.include(before.stderr, `there is no store at s3://${S3.bucket}/cli/runs`)

        yield* done("run", example, "--input", scenes)
        const again = JSON.parse(yield* done("run", example, "--input", scenes, "--json")) as {
          readonly run: string
          readonly ledger: Record<string, { readonly cached: number }>
        }
        assert.strictEqual(again.ledger["brightness"]!.cached, 6)
        assert.include(yield* done("plan", example, "--input", scenes), "brightness")
        assert.include(yield* done("runs"), again.run)
        assert.include(yield* done("show", "last"), again.run)
        assert.include(yield* done("check", example), "brightness")
        // An item is named by the SHA-256 of its record as canonical JSON.
        const item = hash("sha256", `{"luma":[61,66,72,80],"name":"harbour at dawn"}`)
        assert.include(yield* done("impact", item), "title-card")
        assert.include(yield* done("lineage", item, "--down"), "title-card")
        // The journal is here; there is no folder of the store's name.
        assert.lengthOf(readdirSync(join(cache, "stores")), 1)
        assert.isFalse(existsSync("s3:"))
      }).pipe(Effect.scoped),
    180_000,
  )

  it.live(
    "--out copies files of the store, replaces its own, and leaves those of others alone",
    () =>
      Effect.gen(function* () {
        const here = yield* folder
        const store = `s3://${S3.bucket}/cli/out?endpoint=${server.endpoint}`
        const input = join(here, "names.ndjson")
        const out = join(here, "out")
        writeFileSync(input, '{"name":"denoiser"}')
        const run = (...args: ReadonlyArray<string>) =>
          reel("run", models, "--input", input, "--store", store, "--out", out, ...args)
        const first = yield* run()
        assert.strictEqual(first.code, 0, first.stderr)
        const weights = join(out, "made/denoiser.safetensors")
        assert.strictEqual(readFileSync(weights, "utf8"), "denoiser weights a")
        const other = yield* run("--set", "make.text=b")
        assert.strictEqual(other.code, 0, other.stderr)
        assert.strictEqual(readFileSync(weights, "utf8"), "denoiser weights b")
        // Without the copies of this machine, from the bucket.
        rmSync(join(cache, "blobs"), { recursive: true })
        rmSync(out, { recursive: true })
        const anew = yield* run()
        assert.strictEqual(anew.code, 0, anew.stderr)
        assert.strictEqual(readFileSync(weights, "utf8"), "denoiser weights a")
        rmSync(weights)
        writeFileSync(weights, "mine")
        const taken = yield* run()
        assert.strictEqual(taken.code, 1)
        assert.include(taken.stderr, "was not made by reel in this store")
        assert.strictEqual(readFileSync(weights, "utf8"), "mine")
      }).pipe(Effect.scoped),
    180_000,
  )

  it.live(
    "on a machine that knows nothing of it, and on one that knows less than others, tells all runs",
    () =>
      Effect.gen(function* () {
        const at = `s3://${S3.bucket}/cli/elsewhere?endpoint=${server.endpoint}`
        const store = ["--store", at]
        const stores = join(cache, "stores")
        const done = Effect.fnUntraced(function* (...args: ReadonlyArray<string>) {
          const ended = yield* reel(...args, ...store)
          assert.strictEqual(ended.code, 0, ended.stderr)
          return ended
        })
        const run = Effect.map(
          done("run", example, "--input", scenes, "--json"),
          ({ stdout }) => (JSON.parse(stdout) as { readonly run: string }).run,
        )
        const item = hash("sha256", `{"luma":[61,66,72,80],"name":"harbour at dawn"}`)
        const first = yield* run
        const known = yield* folder
        cpSync(stores, known, { recursive: true })
        const second = yield* run
        assert.notStrictEqual(second, first)
        /** What commands tell of both runs, whatever this machine has. */
        const all = Effect.gen(function* () {
          const { stderr, stdout } = yield* done("runs")
          assert.strictEqual(stderr, "")
          assert.include(stdout, first)
          assert.include(stdout, second)
          assert.include((yield* done("show", "last")).stdout, second)
          assert.include((yield* done("lineage", item, "--down")).stdout, "title-card")
          assert.include((yield* done("impact", item)).stdout, second)
          assert.include((yield* done("diff", first, second)).stdout, second)
          assert.include((yield* done("logs", second)).stdout, "has no logs of workers")
        })
        rmSync(stores, { recursive: true })
        yield* all
        // A machine that was there before the second run.
        rmSync(stores, { recursive: true })
        cpSync(known, stores, { recursive: true })
        yield* all
        // One whose caches cannot be written.
        rmSync(stores, { recursive: true })
        writeFileSync(stores, "a file where the caches would be")
        yield* all
        rmSync(stores)

        // Who may only read the bucket may do all that, too.
        const proxy = yield* Effect.promise(() => S3.startProxy(server.endpoint))
        const through = `s3://${S3.bucket}/cli/elsewhere?endpoint=${proxy.endpoint}`
        assert.include((yield* reel("show", second, "--store", through)).stdout, second)
        yield* Effect.promise(() => proxy.close())
        assert.isAbove(proxy.requests.length, 2)
        assert.deepStrictEqual(
          proxy.requests.filter((request) => !/^(?:GET|HEAD) /.test(request)),
          [],
        )

        // A segment that somebody forged is one sentence on stderr, with its name and its store; the rest is told.
        const forged = "journal/000000000000001-0123456789abcdef-00000000.ndjson.gz"
        const text = [
          `{"format":"reelgraph/journal-segment","version":3,"journal":"0123456789abcdef"}`,
          JSON.stringify(["item", item, `{"name":"something else"}`, []]),
          `["end",1]`,
        ]
        const path = join(known, "forged")
        writeFileSync(path, gzipSync(`${text.join("\n")}\n`))
        const plain = Plain.open(server.endpoint)
        yield* Effect.promise(() => plain.put(`cli/elsewhere/objects/${forged}`, path))
        plain.close()
        const told = yield* done("runs")
        assert.include(told.stdout, second)
        assert.include(
          told.stderr,
          `reel: the journal segment ${forged} of the store ${at} cannot be trusted`,
        )
        assert.include(told.stderr, "is not that of the record it comes with")
        assert.include((yield* done("lineage", item)).stdout, "harbour at dawn")
      }).pipe(Effect.scoped),
    120_000,
  )

  it.live(
    "while the bucket is away tells what this machine knows, and says so",
    () =>
      Effect.gen(function* () {
        const own = yield* Effect.promise(() => S3.start())
        const store = ["--store", `s3://${S3.bucket}/cli/away?endpoint=${own.endpoint}`]
        const ran = yield* reel("run", example, "--input", scenes, ...store)
        assert.strictEqual(ran.code, 0, ran.stderr)
        yield* Effect.promise(() => own.close())
        const { code, stderr, stdout } = yield* reel("runs", ...store)
        assert.strictEqual(code, 0, stderr)
        assert.include(stdout, "brightness")
        assert.include(stderr, "could not be reached")
        assert.include(stderr, "may lack what others did since")
        rmSync(join(cache, "stores"), { recursive: true })
        const nothing = yield* reel("runs", ...store)
        assert.strictEqual(nothing.code, 1)
        assert.include(nothing.stderr, "could not be reached")
      }).pipe(Effect.scoped),
    60_000,
  )

  it.live("a bucket that is not there ends the command with one line", () =>
    Effect.gen(function* () {
      const store = `s3://nowhere/x?endpoint=${server.endpoint}`
      const { code, stderr } = yield* reel("run", example, "--input", scenes, "--store", store)
      assert.strictEqual(code, 1)
      assert.strictEqual(
        stderr.trim(),
        `reel: ${server.endpoint} has no bucket nowhere: make it, or correct its name in the URL of the store`,
      )
    }).pipe(Effect.scoped),
  )
})
