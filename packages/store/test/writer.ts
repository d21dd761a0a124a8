/** A process to be killed: puts blobs into the store named by its first argument for as long as it lives. */
import { writeFileSync } from "node:fs"
import { join } from "node:path"
import { Effect, Stream } from "effect"
import { BlobStore, BlobStoreFs, Scratch } from "../src/index.ts"

const [root, seed] = process.argv.slice(2)

const content = (index: number): Uint8Array => {
  const length = [10, 5000, 100_000, 700_000][index % 4] ?? 0
  return new Uint8Array(length).fill(index * 31 + Number(seed)).fill(index >> 8, 0, 2)
}

const putForever = Effect.gen(function* () {
  const store = yield* BlobStore
  const scratch = yield* Scratch.use((service) => service.directory)
  for (let index = 0; ; index++) {
    const bytes = content(index)
    if (index % 3 === 0) yield* store.putBytes(bytes, "a/b")
    if (index % 3 === 1) yield* store.putStream(Stream.make(bytes.slice(0, 7), bytes.slice(7)), "a/b")
    if (index % 3 === 2) {
      const path = join(scratch, "file")
      yield* Effect.sync(() => writeFileSync(path, bytes))
      yield* store.putFile(path, "a/b", { move: true })
    }
    if (index === 0) process.stdout.write("putting\n")
  }
})

void Effect.runPromise(
  putForever.pipe(Effect.scoped, Effect.provide(BlobStoreFs.layer(root ?? "", { durability: "none" }))),
)
