/**
 * A process that uses a folder of unfinished work. Arguments: store, key, and `hold` (until it is killed) or a number
 * of times to add 1 to a file in the folder, in steps that lose counts when two do so at once.
 */
import fs from "node:fs"
import { join } from "node:path"
import { Effect } from "effect"
import { BlobStoreFs, Unfinished } from "../src/index.ts"

const [root, key, task] = process.argv.slice(2) as [string, string, string]

const hold = Effect.gen(function* () {
  const { use } = yield* Unfinished
  fs.writeFileSync(join(yield* use(key), "left"), "by the first")
  process.stdout.write("using\n")
  yield* Effect.never
}).pipe(Effect.scoped)

const add = Effect.gen(function* () {
  const { use } = yield* Unfinished
  const file = join(yield* use(key), "count")
  const count = fs.existsSync(file) ? Number(fs.readFileSync(file, "utf8")) : 0
  yield* Effect.sleep(3)
  fs.writeFileSync(file, String(count + 1))
}).pipe(Effect.scoped)

const work = task === "hold" ? hold : Effect.repeat(add, { times: Number(task) - 1 })

void Effect.runPromise(Effect.provide(work, BlobStoreFs.layer(root, { durability: "none" })))
