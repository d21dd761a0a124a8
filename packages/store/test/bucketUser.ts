/**
 * A process that works on a folder of unfinished work in a bucket until it is killed. Arguments: endpoint, prefix,
 * cache folder, key. Says when its first file has been saved and was changed since.
 */
import fs from "node:fs"
import { join } from "node:path"
import { Effect } from "effect"
import { BlobStoreS3, Unfinished } from "../src/index.ts"
import { locationAt } from "./s3.ts"

const [endpoint, prefix, cache, key] = process.argv.slice(2) as [string, string, string, string]

const work = Effect.gen(function* () {
  const { list, use } = yield* Unfinished
  const path = yield* use(key)
  fs.writeFileSync(join(path, "step"), "first")
  while ((yield* list)[0]?.bytes !== "first".length) yield* Effect.sleep(20)
  fs.writeFileSync(join(path, "step"), "later")
  process.stdout.write("changed\n")
  yield* Effect.sleep("1 hour")
}).pipe(Effect.scoped)

void Effect.runPromise(
  Effect.provide(
    work,
    BlobStoreS3.layer(locationAt(endpoint, prefix), { cache, durability: "none", saveEveryMs: 500 }),
  ),
)
