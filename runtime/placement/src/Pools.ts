/**
 * The pools of a site, and what is to be placed where: what a pools file exports.
 *
 * @example
 * ```ts
 * export default Pools.make({
 *   pools: {
 *     here: Pool.local({ cores: 8, memoryGiB: 32 }),
 *     cpu: Pool.slurm({ partition: "cpu", nodes: 20, cores: 64, memoryGiB: 250, pricePerNodeHour: 2 }),
 *     h100: Pool.slurm({
 *       partition: "h100", nodes: 750, cores: 96, memoryGiB: 1900,
 *       gpus: { model: "h100", count: 8, memoryGiB: 80 }, pricePerGpuHour: 2.5,
 *     }),
 *   },
 *   operators: { train: { pool: "h100", resources: { cores: 12, gpu: { count: 1 } }, ranks: 6000 } },
 * })
 * ```
 */
import { Resources } from "@reelgraph/core"
import * as Result from "effect/Result"
import * as Schema from "effect/Schema"
import * as SchemaIssue from "effect/SchemaIssue"

import * as Pool from "./Pool.ts"

/** What a site decides for an operator (of a name) or a node (of an id): the node's word goes first, field by field. */
export const Choice = Schema.Struct({
  /** Name of the pool; absent: the placement chooses. */
  pool: Schema.optionalKey(Schema.String),
  /** Instead of what the operator asks for itself. Of a gang: of each rank. */
  resources: Schema.optionalKey(Resources.Resources),
  /** A gang of so many processes that begin together, one for each share of `resources`, and are one call. */
  ranks: Schema.optionalKey(Schema.Int.check(Schema.isGreaterThan(0))),
  /** Calls that share one GPU (or one share of cores). @default as many as `gpu.memoryGiB` leaves room for */
  perGpu: Schema.optionalKey(Schema.Int.check(Schema.isGreaterThan(0))),
  allocation: Schema.optionalKey(Pool.Allocation),
})
export type Choice = typeof Choice.Type

/** The pools by name, and what was decided by hand. */
export const Pools = Schema.Struct({
  pools: Schema.Record(Schema.String, Pool.Pool),
  operators: Schema.Record(Schema.String, Choice),
  /**
   * Variables of the driver's environment that the processes of calls are given, here and in jobs, beside what programs
   * need: `HF_TOKEN`, or `WANDB_*` for all that begin so.
   */
  environment: Schema.optionalKey(
    Schema.Array(
      Schema.String.check(
        Schema.isPattern(/^[A-Za-z_]\w{0,99}\*?$/, {
          expected: "the name of a variable, or how names begin and *",
        }),
      ),
    ),
  ),
})
export interface Pools extends Schema.Schema.Type<typeof Pools> {}

export interface Options {
  readonly pools: { readonly [name: string]: typeof Pool.Pool.Encoded }
  readonly operators?: { readonly [nameOrNode: string]: typeof Choice.Encoded }
  readonly environment?: ReadonlyArray<string>
}

const TypeId = Symbol.for("reelgraph/placement/Pools")

/** Pools that are not written as they should be. */
export class PoolsInvalid extends Schema.TaggedError<PoolsInvalid>()("PoolsInvalid", {
  /** `pools.h100.nodes: Missing key`, one for each field that is missing, wrong or unknown. */
  mistakes: Schema.Array(Schema.String),
}) {
  override get message() {
    return `these are no pools: ${this.mistakes.join("; ")}`
  }
}

const decode = Schema.decodeUnknownResult(Pools, { errors: "all", onExcessProperty: "error" })
const format = SchemaIssue.makeFormatterStandardSchemaV1()

const mistakes = (issue: SchemaIssue.Issue): ReadonlyArray<string> =>
  format(issue).issues.map(({ message, path = [] }) => {
    const at = path.map((part) => String(typeof part === "object" ? part.key : part)).join(".")
    return `${at}: ${message}`
  })

/**
 * Pools from the content of a file.
 *
 * @throws PoolsInvalid where they are written
 */
export const make = (options: Options): Pools => {
  const pools = decode({ operators: {}, ...options })
  if (Result.isFailure(pools)) throw new PoolsInvalid({ mistakes: mistakes(pools.failure.issue) })
  return Object.defineProperty(pools.success, TypeId, { value: true })
}

export const isPools = (value: unknown): value is Pools =>
  typeof value === "object" && value !== null && (value as { [TypeId]?: unknown })[TypeId] === true
