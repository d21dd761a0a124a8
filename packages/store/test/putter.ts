/**
 * A process that puts three blobs, many times, into the store in a bucket. Arguments: endpoint, prefix, cache folder;
 * with `hold` it puts one instead, says where its copy is, and keeps that in use until it is killed.
 */
import { Effect } from "effect"
import { BlobStore, BlobStoreS3 } from "../src/index.ts"
import { locationAt } from "./s3.ts"

const [endpoint, prefix, cache, task] = process.argv.slice(2) as [string, string, string, string | undefined]

const put = (fill: number) =>
  BlobStore.use((store) => store.putBytes(new Uint8Array(50_000).fill(fill), "a/b"))

const hold = Effect.gen(function* () {
  const artifact = yield* put(99)
  const path = yield* BlobStore.use((store) => store.localPath(artifact))
  process.stdout.write(`${path}\n`)
  yield* Effect.sleep("1 hour")
}).pipe(Effect.scoped)

const putMany = Effect.forEach(
  Array.from({ length: 15 }).keys(),
  (index) =>
    Effect.gen(function* () {
      const artifact = yield* put(index % 3)
      yield* BlobStore.use((store) => store.get(artifact))
    }),
  { concurrency: 5, discard: true },
)

void Effect.runPromise(
  Effect.provide(
    task === "hold" ? hold : putMany,
    BlobStoreS3.layer(locationAt(endpoint, prefix), { cache, durability: "none" }),
  ),
)
