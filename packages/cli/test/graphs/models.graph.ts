/** A graph whose outputs name several files each, as those of training do. */
import { Graph, Operator, Port } from "@reelgraph/core"
import { Artifact, BlobStore } from "@reelgraph/store"
import * as Effect from "effect/Effect"
import * as Schema from "effect/Schema"

const Named = Port.make("Named", { record: Schema.Struct({ name: Schema.String }) })

const Model = Port.make("Model", {
  record: Schema.Struct({
    name: Schema.String,
    file: Artifact,
    curveCsv: Artifact,
    curveSvg: Artifact,
    parts: Schema.Array(Artifact),
  }),
})

const Make = Operator.map("make", {
  version: "1.0.0",
  input: Named,
  output: Model,
  params: Schema.Struct({ text: Schema.String.pipe(Schema.withDecodingDefaultKey(Effect.succeed("a"))) }),
  needs: [BlobStore],
  run: ({ name }, { text }) =>
    Effect.gen(function* () {
      const blobs = yield* BlobStore
      const put = (what: string, type: string) =>
        blobs.putBytes(new TextEncoder().encode(`${name} ${what} ${text}`), type)
      return {
        name,
        file: yield* put("weights", "application/safetensors"),
        curveCsv: yield* put("rows", "text/csv"),
        curveSvg: yield* put("drawing", "image/svg+xml"),
        parts: [yield* put("part 1", "text/plain"), yield* put("part 2", "text/plain")],
      }
    }),
})

export const models = Graph.make("models", { version: "1.0.0" }, (g) => ({
  made: g.input("names", Named).pipe(Make()),
}))
