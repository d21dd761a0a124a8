/** Operators on files that take a known time, and log when they begin and end. */
import { createHash } from "node:crypto"
import { appendFileSync, readFileSync } from "node:fs"

import { Operator, Port } from "@reelgraph/core"
import { Artifact, BlobStore, Objects } from "@reelgraph/store"
import * as Effect from "effect/Effect"
import * as Schema from "effect/Schema"

const version = "1.0.0"
const worker = import.meta.url

export const File = Port.make("File", { record: Schema.Struct({ n: Schema.Int, file: Artifact }) })

/** Keeps the process from anything else, its connections included, as a kernel does; it takes no core. */
const block = (ms: number) =>
  Effect.sync(() => void Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, ms))

/** With the process, and milliseconds since the epoch. */
const log = (file: string, text: string) =>
  Effect.sync(() => appendFileSync(file, `${text} ${process.pid} ${Date.now()}\n`))

const params = Schema.Struct({
  /** Milliseconds for which it blocks its process. */
  ms: Schema.Int,
  log: Schema.String,
})

/** The same bytes, changed. */
export const changed = (bytes: Uint8Array): Uint8Array => bytes.map((byte) => byte ^ 0x5a)

/** Reads a file as native code does, and makes another of the same size. */
export const Change = Operator.map("change-file", {
  version,
  worker,
  input: File,
  output: File,
  params,
  timeoutMs: 60_000,
  retries: 2,
  needs: [BlobStore],
  run: ({ file, n }, { log: path, ms }) =>
    Effect.gen(function* () {
      yield* log(path, `begin ${n}`)
      const store = yield* BlobStore
      const bytes = changed(readFileSync(yield* store.localPath(file)))
      yield* block(ms)
      const made = yield* store.putBytes(bytes, file.mediaType)
      yield* log(path, `end ${n}`)
      return { n, file: made }
    }).pipe(Effect.scoped),
})

/** Looks at its record alone. */
export const Count = Operator.map("count-files", {
  version,
  worker,
  input: File,
  output: Port.make("Count", { record: Schema.Struct({ n: Schema.Int }) }),
  run: ({ n }) => Effect.succeed({ n: n * 2 }),
})

export const Told = Port.make("Told", {
  record: Schema.Struct({ n: Schema.Int, has: Schema.Boolean, file: Artifact }),
})

/** Puts a blob, asks whether it is there, and tells others of it in an object. */
export const Tell = Operator.map("tell", {
  version,
  worker,
  input: Port.make("Num", { record: Schema.Struct({ n: Schema.Int }) }),
  output: Told,
  needs: [BlobStore, Objects],
  run: ({ n }) =>
    Effect.gen(function* () {
      const store = yield* BlobStore
      const objects = yield* Objects
      const file = yield* store.putBytes(new Uint8Array(1000).fill(n), "application/octet-stream")
      const has = (yield* store.has(file.sha256)) && (yield* store.hasAll([file])).has(file.sha256)
      const { sha256 } = file
      yield* objects.put(`told/${createHash("sha256").update(sha256).digest("hex")}`, Buffer.from(sha256))
      return { n, has, file }
    }),
})
