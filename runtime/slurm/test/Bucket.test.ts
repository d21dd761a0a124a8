/** A cluster whose store is a bucket behind a network that fails. */
import { mkdtempSync, rmSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"

import { afterAll, assert, layer } from "@effect/vitest"
import * as Cause from "effect/Cause"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import type * as Layer from "effect/Layer"

import * as S3 from "../../../packages/store/test/s3.ts"
import * as Test from "../../../test/cluster/Cluster.ts"
import * as Harness from "./graphs.ts"
import { unlessSlurm } from "./skip.ts"

const server = Effect.acquireRelease(
  Effect.promise(() => S3.start()),
  (started) => Effect.promise(() => started.close()),
)

// Variables are read once.
const cache = mkdtempSync(join(tmpdir(), "reelgraph-cache-"))
process.env["REEL_CACHE"] = cache
afterAll(() => rmSync(cache, { recursive: true, force: true }))

unlessSlurm("Graphs on a cluster with a store in a bucket", () => {
  layer(Test.layer({ gpuNodes: 2, cpuNodes: 2 }) as Layer.Layer<Test.Cluster>, {
    timeout: 60_000,
    excludeTestServices: true,
  })((it) => {
    it.effect(
      "give the bytes of a run here although a fifth of all requests fails",
      () =>
        Effect.scoped(
          Effect.gen(function* () {
            const here = yield* Harness.folder
            const there = yield* Harness.folder
            const { endpoint } = yield* server
            const proxy = yield* S3.proxy(endpoint, { fraction: 0.2 })
            const store = `s3://${S3.bucket}/cluster?endpoint=${encodeURIComponent(proxy.endpoint)}&timeout=3`
            const count = 24
            const expected = yield* Harness.local({ store: here.store, count })
            const found = yield* Harness.remote(
              { store, witness: there.witness, count },
              Harness.everywhere(),
            )
            assert.deepStrictEqual(found.outputs, expected.outputs)
            assert.strictEqual(found.ledger, expected.ledger)
            const failed = [...proxy.faults.values()].reduce((sum, count) => sum + count, 0)
            assert.isAbove(failed, 20)
            // Also bodies that were cut short.
            assert.isAbove((proxy.faults.get("cut") ?? 0) + (proxy.faults.get("short") ?? 0), 0)
          }),
        ),
      400_000,
    )

    it.effect(
      "say so when workers may not read it",
      () =>
        Effect.scoped(
          Effect.gen(function* () {
            const there = yield* Harness.folder
            const { endpoint } = yield* server
            const store = `s3://${S3.bucket}/shut?endpoint=${encodeURIComponent(endpoint)}&timeout=3`
            const exit = yield* Effect.exit(
              Harness.remote({ store, witness: there.witness, count: 4 }, Harness.everywhere(), {
                environment: { AWS_ACCESS_KEY_ID: "SOMEBODY" },
              }),
            )
            assert.isTrue(Exit.isFailure(exit), "it ran")
            const reported = Exit.isFailure(exit) ? String(Cause.squash(exit.cause)) : ""
            assert.match(
              reported,
              /workers in pool cpu ended before they began, on .*; the log of one ends with: /u,
            )
            assert.match(reported, /credentials for s3:.* are refused/u)
          }),
        ),
      120_000,
    )

    it.effect(
      "begin nothing when the driver may not write to it",
      () =>
        Effect.scoped(
          Effect.gen(function* () {
            const { run } = yield* Test.Cluster
            const there = yield* Harness.folder
            const { endpoint } = yield* server
            const readable = `s3://${S3.bucket}/read-only?endpoint=${encodeURIComponent(endpoint)}`
            // There is a store, from a run that was allowed to write.
            yield* Harness.local({ store: readable, witness: there.witness, count: 2 })
            const proxy = yield* S3.proxy(endpoint, {
              answer: (method) =>
                method === "PUT" || method === "POST" ? { status: 403, code: "AccessDenied" } : undefined,
            })
            const store = `s3://${S3.bucket}/read-only?endpoint=${encodeURIComponent(proxy.endpoint)}&timeout=3`
            const exit = yield* Effect.exit(
              Harness.remote({ store, witness: there.witness, count: 4 }, Harness.everywhere()),
            )
            assert.isTrue(Exit.isFailure(exit), "it ran")
            assert.match(
              Exit.isFailure(exit) ? String(Cause.squash(exit.cause)) : "",
              /no permission for PutObject of s3:/u,
            )
            assert.strictEqual((yield* run("squeue", "-h", "-t", "pending,running")).trim(), "")
          }),
        ),
      180_000,
    )
  })
})
