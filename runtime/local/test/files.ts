/** Operators that pass files from worker to worker through the store. */
import { createHash } from "node:crypto"
import { readFileSync } from "node:fs"

import { Operator, Port } from "@reelgraph/core"
import { Artifact, BlobStore } from "@reelgraph/store"
import * as Effect from "effect/Effect"
import * as Schema from "effect/Schema"

const version = "1.0.0"
const worker = import.meta.url

export const Num = Port.make("Num", { record: Schema.Struct({ n: Schema.Int }) })
export const File = Port.make("File", { record: Schema.Struct({ n: Schema.Int, file: Artifact }) })
export const Digest = Port.make("Digest", { record: Schema.Struct({ n: Schema.Int, sha256: Schema.String }) })

/** Bytes that depend on the number alone, some 10 kB. */
export const content = (n: number): Uint8Array =>
  Uint8Array.from({ length: 10_000 + n }, (_, at) => (at * (n + 7)) >> 3)

export const Write = Operator.map("write-file", {
  version,
  worker,
  input: Num,
  output: File,
  needs: [BlobStore],
  run: ({ n }) =>
    Effect.map(
      BlobStore.use((store) => store.putBytes(content(n), "application/octet-stream")),
      (file) => ({ n, file }),
    ),
})

/** Reads a file as native code does and as bytes. */
export const Read = Operator.map("read-file", {
  version,
  worker,
  input: File,
  output: Digest,
  needs: [BlobStore],
  run: ({ file, n }) =>
    Effect.gen(function* () {
      const store = yield* BlobStore
      const sha256 = createHash("sha256")
        .update(readFileSync(yield* store.localPath(file)))
        .digest("hex")
      const bytes = yield* store.get(file)
      return { n, sha256: bytes.length === file.bytes ? sha256 : "another length" }
    }).pipe(Effect.scoped),
})
