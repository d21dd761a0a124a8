/** What the command leaves on a machine is its user's alone, whatever the umask. */
import { spawnSync } from "node:child_process"
import * as fs from "node:fs"
import { join } from "node:path"
import { fileURLToPath } from "node:url"

import { assert, it, vi } from "@effect/vitest"
import * as Effect from "effect/Effect"

import { files, folder, models } from "./reel.ts"

// Nothing waits for it, and others work here too.
vi.setConfig({ testTimeout: 120_000 })

const bin = fileURLToPath(new URL("../src/bin.ts", import.meta.url))

it.live("store, journal and compiled code are closed to others under a umask of 0", () =>
  Effect.gen(function* () {
    const here = yield* folder
    const caches = join(here, "caches")
    const input = join(here, "names.ndjson")
    fs.writeFileSync(input, '{"name":"one"}')
    const store = join(here, "store")
    const args = [process.execPath, bin, "run", models, "--input", input, "--store", store]
    const { status, stderr } = spawnSync("sh", ["-c", 'umask 0; exec "$@"', "sh", ...args], {
      encoding: "utf8",
      // oxlint-disable-next-line node/no-process-env -- a process boundary
      env: { ...process.env, XDG_CACHE_HOME: caches, NODE_COMPILE_CACHE: undefined },
    })
    assert.strictEqual(status, 0, stderr)
    const compiled = join(caches, "reelgraph", "compiled")
    assert.isAbove(fs.readdirSync(compiled).length, 0)
    const below = fs.readdirSync(store, { recursive: true, encoding: "utf8" })
    for (const path of [
      store,
      compiled,
      join(caches, "reelgraph"),
      ...below.map((name) => join(store, name)),
    ])
      assert.strictEqual(fs.statSync(path).mode & 0o077, 0, path)
  }).pipe(Effect.scoped),
)

it.live("what --out writes is as open as the umask has it, manifests like files", () =>
  Effect.gen(function* () {
    const here = yield* folder
    const input = join(here, "names.ndjson")
    fs.writeFileSync(input, '{"name":"one"}\n')
    for (const [umask, mode] of [
      ["000", 0o666],
      ["027", 0o640],
    ] as const) {
      const out = join(here, umask)
      const args = [bin, "run", files, "--input", input, "--store", join(here, "store"), "--out", out]
      const { status, stderr } = spawnSync(
        "sh",
        ["-c", `umask ${umask}; exec "$@"`, "sh", process.execPath, ...args],
        { encoding: "utf8" },
      )
      assert.strictEqual(status, 0, stderr)
      const written = fs
        .readdirSync(out, { recursive: true, encoding: "utf8" })
        .map((name) => join(out, name))
        .filter((path) => fs.statSync(path).isFile())
      // Two manifests and a file of each.
      assert.strictEqual(written.length, 4)
      for (const path of written) assert.strictEqual(fs.statSync(path).mode & 0o777, mode, path)
    }
  }).pipe(Effect.scoped),
)
