/** A file from each name, and another that is read from it by its path. */
import { readFileSync } from "node:fs"

import { Graph, Operator, Port } from "@reelgraph/core"
import { Artifact, BlobStore } from "@reelgraph/store"
import * as Effect from "effect/Effect"
import * as Schema from "effect/Schema"

const Named = Port.make("Named", { record: Schema.Struct({ name: Schema.String }) })
const Filed = Port.make("Filed", { record: Schema.Struct({ name: Schema.String, file: Artifact }) })

const put = (text: string) =>
  BlobStore.use((blobs) => blobs.putBytes(new TextEncoder().encode(text), "text/plain"))

const Write = Operator.map("write", {
  version: "1.0.0",
  needs: [BlobStore],
  input: Named,
  output: Filed,
  run: ({ name }) => Effect.map(put(`${name} written`), (file) => ({ name, file })),
})

const Copy = Operator.map("copy", {
  version: "1.0.0",
  needs: [BlobStore],
  input: Filed,
  output: Filed,
  params: Schema.Struct({ mark: Schema.String.pipe(Schema.withDecodingDefaultKey(Effect.succeed("!"))) }),
  run: ({ file, name }, { mark }) =>
    Effect.gen(function* () {
      const path = yield* BlobStore.use((blobs) => blobs.localPath(file))
      return { name, file: yield* put(`${readFileSync(path, "utf8")}${mark}`) }
    }),
})

export const files = Graph.make("files", { version: "1.0.0" }, (g) => {
  const written = g.input("names", Named).pipe(Write())
  return { written, copied: written.pipe(Copy()) }
})
