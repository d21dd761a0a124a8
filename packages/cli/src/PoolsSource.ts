/** Where pools come from: the path of a person's own file. */
import { resolve } from "node:path"

import { Pools } from "@reelgraph/placement"
import * as Effect from "effect/Effect"
import * as Schema from "effect/Schema"

import * as UserModule from "./UserModule.ts"
import { PoolsFileMissing, PoolsNotExported } from "./UsageError.ts"

/** A pools file that failed while it was loaded: its syntax, its imports, or the pools it makes. */
export class PoolsFileBroken extends Schema.TaggedError<PoolsFileBroken>()("PoolsFileBroken", {
  file: Schema.String,
  /** Line of the file, when it is known. */
  line: Schema.optionalKey(Schema.Int),
  problem: Schema.String,
}) {
  override get message() {
    return `${this.file}${this.line === undefined ? "" : `:${this.line}`} does not load: ${this.problem}`
  }
}

export type PoolsSourceError = PoolsFileMissing | PoolsFileBroken | PoolsNotExported

/** The pools that a file exports as its default. */
export const find: (given: string) => Effect.Effect<Pools.Pools, PoolsSourceError> = Effect.fn(
  "PoolsSource.find",
)(function* (given: string) {
  const file = resolve(given)
  if (!UserModule.isThere(file)) return yield* new PoolsFileMissing({ file: given })
  const module = yield* Effect.mapError(
    UserModule.load(file),
    (broken) => new PoolsFileBroken({ file: given, ...broken }),
  )
  const pools = module["default"]
  if (Pools.isPools(pools)) return pools
  return yield* new PoolsNotExported({ file: given, exports: Object.keys(module).sort() })
})
