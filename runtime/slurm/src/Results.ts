/**
 * What workers report, as objects in the results folder of their job. Each is written once, whole, under a name that no
 * other attempt has, so that two attempts of one task that are alive at once (as after a node was taken for dead)
 * never touch each other's. A controller that lost its state may even run a task twice under one restart count: TOKEN
 * is drawn by each attempt.
 *
 * - `worker.TASK.RESTART.TOKEN.json`: a worker has begun, or refuses to: {@link Registration};
 * - `SHARD.TASK.RESTART.TOKEN.PART.ndjson`: results of a shard: a line of {@link Head}, and a line for each result.
 */
import { createHash } from "node:crypto"

import { Call } from "@reelgraph/call"
import * as Effect from "effect/Effect"
import * as Schema from "effect/Schema"

/** One attempt at a task: what it runs as, and where. */
export const Attempt = Schema.Struct({
  job: Schema.Int,
  task: Schema.Int,
  /** How often Slurm has begun the task before. */
  restart: Schema.Int,
  /** Drawn by this attempt: 8 hexadecimal digits. */
  token: Schema.String,
  /** Slurm's name of the node. */
  node: Schema.String,
  /** The devices that it was given, as in CUDA_VISIBLE_DEVICES; empty: none. */
  gpus: Schema.String,
})
export type Attempt = typeof Attempt.Type

/** What a worker reports when it begins. */
export const Registration = Schema.Struct({
  ...Attempt.fields,
  version: Schema.String,
  /** The time by its clock, in milliseconds since the epoch. */
  clockMs: Schema.Finite,
  /** Why it does nothing: it is of another version, or cannot read the store. */
  refused: Schema.optionalKey(Schema.String),
})
export type Registration = typeof Registration.Type

/** The first line of results. */
export const Head = Schema.Struct({
  ...Attempt.fields,
  shard: Schema.String,
  part: Schema.Int,
  /** Whether this attempt is through with the shard: what has no result by then gets none of it. */
  whole: Schema.Boolean,
  /** Why nothing was made of the shard: it was gone, damaged, or not its driver's. */
  refused: Schema.optionalKey(Schema.String),
  results: Schema.Int,
  /** SHA-256 of the rest, in hex. */
  sha256: Schema.String,
})
export type Head = typeof Head.Type

/** Results that are cut short, changed or of another kind. */
export class ResultsDamaged extends Schema.TaggedError<ResultsDamaged>()("ResultsDamaged", {
  name: Schema.String,
  problem: Schema.String,
}) {
  override get message() {
    return `results ${this.name} are damaged: ${this.problem}; the calls will be made again`
  }
}

/** `h100-3, job 1234_5 (restart 1), GPU 2, session curate-20260114-093042-3fa9c1` */
export const placeOf = ({ gpus, job, node, restart, task }: Attempt, session: string): string =>
  [
    node,
    `job ${job}_${task}${restart === 0 ? "" : ` (restart ${restart})`}`,
    ...(gpus === "" ? [] : [`GPU ${gpus}`]),
    `session ${session}`,
  ].join(", ")

/** The log, among those of a store, of whoever worked in a place: of the task, with all its restarts. */
export const logOf = (place: string): string | undefined => {
  const found = /, job (\d+_\d+).*, session (\w[\w.-]*)$/u.exec(place)
  return found === null ? undefined : `${found[2]}/${found[1]}.log`
}

export const registrationName = ({ restart, task, token }: Attempt): string =>
  `worker.${task}.${restart}.${token}.json`

type Named = Pick<Head, "shard" | "task" | "restart" | "token" | "part">

export const partName = ({ part, restart, shard, task, token }: Named): string =>
  `${shard}.${task}.${restart}.${token}.${part}.ndjson`

/** The parts of the name of an object in a results folder. */
export type Name =
  | { readonly _tag: "Registration"; readonly task: number }
  | { readonly _tag: "Part"; readonly shard: string; readonly task: number }

export const parseName = (name: string): Name | undefined => {
  const registration = /^worker\.(\d+)\.\d+\.[0-9a-f]+\.json$/u.exec(name)
  if (registration !== null) return { _tag: "Registration", task: Number(registration[1]) }
  const part = /^([\w.-]+?)\.(\d+)\.\d+\.[0-9a-f]+\.\d+\.ndjson$/u.exec(name)
  return part === null ? undefined : { _tag: "Part", shard: part[1]!, task: Number(part[2]) }
}

export const encode = (
  head: Omit<Head, "results" | "sha256">,
  results: ReadonlyArray<Call.Result>,
): Uint8Array => {
  const body = results.map((result) => `${JSON.stringify(result)}\n`).join("")
  const sha256 = createHash("sha256").update(body).digest("hex")
  return Buffer.from(`${JSON.stringify({ ...head, results: results.length, sha256 })}\n${body}`)
}

const decodeHead = Schema.decodeUnknownSync(Schema.fromJsonString(Head))
const decodeResult = Schema.decodeUnknownSync(Schema.fromJsonString(Call.Result))

export const decode = (
  name: string,
  bytes: Uint8Array,
): Effect.Effect<{ readonly head: Head; readonly results: ReadonlyArray<Call.Result> }, ResultsDamaged> =>
  Effect.try({
    try: () => {
      const end = bytes.indexOf(10)
      if (end === -1) throw new Error("they have no first line")
      const head = decodeHead(Buffer.from(bytes.subarray(0, end)).toString("utf8"))
      const body = bytes.subarray(end + 1)
      if (createHash("sha256").update(body).digest("hex") !== head.sha256)
        throw new Error("their digest is another one")
      const lines = Buffer.from(body).toString("utf8").split("\n").slice(0, -1)
      if (lines.length !== head.results) throw new Error(`${lines.length} of ${head.results} are there`)
      const own = partName(head)
      if (name.slice(name.lastIndexOf("/") + 1) !== own) throw new Error(`they are those of ${own}`)
      return { head, results: lines.map((line) => decodeResult(line)) }
    },
    catch: (cause) =>
      new ResultsDamaged({ name, problem: cause instanceof Error ? cause.message : String(cause) }),
  })
