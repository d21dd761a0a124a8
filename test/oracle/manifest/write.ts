/** Writes the manifests that oracle.py reads: `node test/oracle/manifest/write.ts`. */
import { Effect } from "effect"
import * as Manifest from "../../../packages/store/src/Manifest.ts"
import { Clip, rows } from "../../../packages/store/test/clips.ts"

const path = (name: string): string => new URL(name, import.meta.url).pathname

await Effect.runPromise(
  Effect.andThen(
    Manifest.write(path("clips.parquet"), rows, Clip, { rowGroupRows: 3 }),
    Manifest.write(path("empty.parquet"), [], Clip),
  ),
)
