/** Files with the same bytes: one is kept. */
import { drop, Operator } from "@reelgraph/core"
import * as Effect from "effect/Effect"

import { SourceVideo } from "../ports/index.ts"
import { precedes } from "./precedence.ts"

/** Keeps one of the files with the same bytes, the shortest name first, and drops the others naming it. */
export const ExactDuplicates = Operator.collect("exact-duplicates", {
  version: "1.0.0",
  description: "Keeps one of the files with the same bytes",
  input: SourceVideo,
  output: SourceVideo,
  run: (videos) =>
    Effect.sync(() => {
      const kept = new Map<string, number>()
      videos.forEach(({ file, name }, at) => {
        const other = kept.get(file.sha256)
        if (other === undefined || precedes(name, videos[other]!.name)) kept.set(file.sha256, at)
      })
      return videos.map(({ file }, at) => {
        const first = kept.get(file.sha256)!
        return first === at
          ? Operator.pass(at)
          : Operator.dropAt(at, drop("exact-duplicate", `same bytes as ${videos[first]!.name}`))
      })
    }),
})
