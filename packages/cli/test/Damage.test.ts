/** Blobs that were damaged or removed between two runs: nobody is given them, and a run makes them anew. */
import * as fs from "node:fs"
import { dirname, join } from "node:path"

import { assert, describe, it, vi } from "@effect/vitest"
import * as Effect from "effect/Effect"

import { files, folder, reel } from "./reel.ts"

// Nothing waits for it, and others work here too.
vi.setConfig({ testTimeout: 60_000 })

const blobsOf = (store: string): ReadonlyArray<string> =>
  fs
    .readdirSync(join(store, "blobs"))
    .flatMap((fan) =>
      fs.readdirSync(join(store, "blobs", fan)).map((name) => join(store, "blobs", fan, name)),
    )

const blobOf = (store: string, text: string): string => {
  const found = blobsOf(store).find(
    (path) => fs.statSync(path).isFile() && fs.readFileSync(path, "utf8") === text,
  )
  assert.isDefined(found, text)
  return found
}

/** Changes a blob and keeps its length. */
const damage = (path: string) => {
  const bytes = fs.readFileSync(path)
  bytes[0]! ^= 1
  fs.chmodSync(path, 0o644)
  fs.writeFileSync(path, bytes)
}

/** A store with the results for some names, and a way to run again on the same. */
const started = Effect.fnUntraced(function* (names: ReadonlyArray<string>) {
  const here = yield* folder
  const store = join(here, "store")
  const input = join(here, "names.ndjson")
  fs.writeFileSync(input, names.map((name) => JSON.stringify({ name })).join("\n"))
  const run = (...args: ReadonlyArray<string>) =>
    reel("run", files, "--input", input, "--store", store, ...args)
  const plan = reel("plan", files, "--input", input, "--store", store)
  const first = yield* run()
  assert.strictEqual(first.code, 0, first.stderr)
  return { here, store, run, plan }
})

const exportedIn = (out: string, output: string): ReadonlyArray<string> =>
  fs.readdirSync(join(out, output)).map((name) => fs.readFileSync(join(out, output, name), "utf8"))

describe("a blob damaged at equal length", () => {
  it.live("is not exported: its result is made anew, and the damaged bytes are moved aside", () =>
    Effect.gen(function* () {
      const { here, run, store } = yield* started(["one", "two"])
      damage(blobOf(store, "one written"))
      const out = join(here, "out")
      const { code, stderr } = yield* run("--out", out)
      assert.strictEqual(code, 0, stderr)
      assert.include(stderr, "1 blob of results is damaged or missing")
      assert.sameMembers([...exportedIn(out, "written")], ["one written", "two written"])
      assert.sameMembers([...exportedIn(out, "copied")], ["one written!", "two written!"])
      const [aside = ""] = fs.readdirSync(join(store, "damaged"))
      assert.strictEqual(fs.readFileSync(join(store, "damaged", aside), "utf8"), "nne written")
      const verified = yield* reel("verify", "--store", store)
      assert.strictEqual(verified.code, 0, verified.stdout)
    }).pipe(Effect.scoped),
  )

  it.live("or a folder in its place is moved aside, and its result is made anew", () =>
    Effect.gen(function* () {
      const { here, run, store } = yield* started(["one", "two"])
      const path = blobOf(store, "one written")
      fs.rmSync(path, { force: true })
      fs.mkdirSync(path)
      fs.writeFileSync(join(path, "mine"), "mine")
      // A file in the place of the folder of a blob.
      const fan = dirname(blobOf(store, "two written!"))
      fs.rmSync(fan, { recursive: true })
      fs.writeFileSync(fan, "yours")
      const out = join(here, "out")
      const { code, stderr } = yield* run("--out", out)
      assert.strictEqual(code, 0, stderr)
      assert.sameMembers([...exportedIn(out, "written")], ["one written", "two written"])
      assert.sameMembers([...exportedIn(out, "copied")], ["one written!", "two written!"])
      const aside = fs.readdirSync(join(store, "damaged")).map((name) => join(store, "damaged", name))
      assert.sameMembers(
        aside.map((name) => fs.readFileSync(fs.statSync(name).isFile() ? name : join(name, "mine"), "utf8")),
        ["mine", "yours"],
      )
      const verified = yield* reel("verify", "--store", store)
      assert.strictEqual(verified.code, 0, verified.stdout)
    }).pipe(Effect.scoped),
  )

  it.live("is not read by an operator: the call that made it is made again in the same command", () =>
    Effect.gen(function* () {
      const { here, run, store } = yield* started(["one", "two", "three"])
      damage(blobOf(store, "two written"))
      const out = join(here, "out")
      const { code, stderr, stdout } = yield* run("--set", "copy.mark=?", "--out", out, "--json")
      assert.strictEqual(code, 0, stderr)
      assert.deepStrictEqual(JSON.parse(stdout).failed, [])
      assert.sameMembers([...exportedIn(out, "copied")], ["one written?", "two written?", "three written?"])
    }).pipe(Effect.scoped),
  )

  it.live("and removed ones are told of by reel verify, which ends with 1, and mended by a run", () =>
    Effect.gen(function* () {
      const { plan, run, store } = yield* started(["one", "two"])
      damage(blobOf(store, "one written"))
      fs.rmSync(blobOf(store, "two written!"))
      fs.writeFileSync(join(store, "blobs", "notes.txt"), "mine")
      const { code, stdout } = yield* reel("verify", "--store", store)
      assert.strictEqual(code, 1)
      assert.match(stdout, /^damaged {2}[0-9a-f]{64} .*moved to/m)
      assert.match(stdout, /^missing {2}[0-9a-f]{64} /m)
      assert.match(stdout, /^foreign {2}.*notes.txt/m)
      const planned = yield* plan
      assert.match(planned.stdout, /^write +1 +1 .*its blob is missing/m)
      assert.match(planned.stdout, /^copy +0? *.*after upstream|^copy .*missing/m)
      const mended = yield* run()
      assert.strictEqual(mended.code, 0, mended.stderr)
      fs.rmSync(join(store, "blobs", "notes.txt"))
      const json = yield* reel("verify", "--store", store, "--json")
      assert.strictEqual(json.code, 0, json.stdout)
      assert.deepInclude(JSON.parse(json.stdout), { checked: 4, damaged: [], missing: [], foreign: [] })
    }).pipe(Effect.scoped),
  )

  it.live("whichever blobs are damaged, cut short or removed: a run exports what it did before", () =>
    Effect.gen(function* () {
      const { here, run, store } = yield* started(["one", "two", "three"])
      const right = join(here, "right")
      assert.strictEqual((yield* run("--out", right)).code, 0)
      const texts = ["one", "two", "three"].flatMap((name) => [`${name} written`, `${name} written!`])
      const harms: ReadonlyArray<(path: string) => void> = [
        () => {},
        damage,
        (path) => fs.rmSync(path),
        (path) => {
          fs.chmodSync(path, 0o644)
          fs.truncateSync(path, 3)
        },
      ]
      let state = 7
      for (let round = 0; round < 8; round++) {
        const done = texts.map((text) => {
          state = (Math.imul(state, 1103515245) + 12345) >>> 0
          const which = (state >>> 16) % harms.length
          harms[which]!(blobOf(store, text))
          return which
        })
        const out = join(here, `out-${round}`)
        const { code, stderr } = yield* run("--out", out)
        assert.strictEqual(code, 0, `${done.join()}: ${stderr}`)
        for (const name of fs.readdirSync(right, { recursive: true, encoding: "utf8" })) {
          if (!fs.statSync(join(right, name)).isFile()) continue
          assert.isTrue(fs.readFileSync(join(out, name)).equals(fs.readFileSync(join(right, name))), name)
        }
      }
    }).pipe(Effect.scoped),
  )

  it.live("an output whose blob was removed is not left out of an export", () =>
    Effect.gen(function* () {
      const { here, run, store } = yield* started(["one"])
      const out = join(here, "out")
      const mark = yield* run("--out", out)
      assert.strictEqual(mark.code, 0, mark.stderr)
      fs.rmSync(blobOf(store, "one written!"))
      fs.rmSync(out, { recursive: true })
      const { code, stderr } = yield* run("--out", out)
      assert.strictEqual(code, 0, stderr)
      assert.deepStrictEqual(exportedIn(out, "copied"), ["one written!"])
    }).pipe(Effect.scoped),
  )
})
