/** Operators of the cluster's tests: they sleep, say where they ran, and some of them fail. */
import { appendFileSync, existsSync } from "node:fs"
import { join } from "node:path"

import { drop, keep, Operator, Port } from "@reelgraph/core"
import { BlobStore } from "@reelgraph/store"
import { Artifact } from "@reelgraph/store"
import * as Effect from "effect/Effect"
import * as Schema from "effect/Schema"

const version = "1.0.0"
const worker = import.meta.url

export const Num = Port.make("Num", { record: Schema.Struct({ n: Schema.Int }) })

export const File = Port.make("File", { record: Schema.Struct({ n: Schema.Int, file: Artifact }) })

/** What a process sees of where it runs. */
export interface Witness {
  readonly node: string
  readonly job: string
  readonly task: string
  readonly gpus: string
  readonly pid: number
  readonly operator: string
  readonly n: number
  /** When the call began and ended, in milliseconds since the epoch. */
  readonly begunMs: number
  readonly endedMs: number
}

/** Folder in which operators say where they ran. */
export const witnessVariable = "REELGRAPH_TEST_WITNESS"

/** Name of a file in that folder: while it is there, calls of `paint` do not end. */
export const holdFile = "hold"

const folderOf = (): string | undefined => {
  // oxlint-disable-next-line node/no-process-env -- the folder that a test gives
  return process.env[witnessVariable]
}

/** Waits until a test lets calls end. */
const released = Effect.gen(function* () {
  const folder = folderOf()
  if (folder !== undefined) while (existsSync(join(folder, holdFile))) yield* Effect.sleep(50)
})

const witness = (operator: string, n: number, begunMs = Date.now()): void => {
  // oxlint-disable-next-line node/no-process-env -- a test looks at what Slurm sets
  const env = process.env
  const folder = folderOf()
  if (folder === undefined) return
  const reported: Witness = {
    node: env["SLURMD_NODENAME"] ?? "",
    job: env["SLURM_ARRAY_JOB_ID"] ?? env["SLURM_JOB_ID"] ?? "",
    task: env["SLURM_ARRAY_TASK_ID"] ?? "",
    gpus: env["CUDA_VISIBLE_DEVICES"] ?? "",
    pid: process.pid,
    operator,
    n,
    begunMs,
    endedMs: Date.now(),
  }
  appendFileSync(join(folder, "witness.ndjson"), `${JSON.stringify(reported)}\n`)
}

const Millis = Schema.Struct({ ms: Schema.Finite })

/** Held by a process that is to take memory. */
const held: Array<Buffer> = []

/** Sleeps, and gives the double: work for the CPU. */
export const Double = Operator.map("double", {
  version,
  worker,
  input: Num,
  output: Num,
  params: Schema.Struct({ ...Millis.fields, mebibytes: Schema.Int }),
  run: ({ n }, { mebibytes, ms }) =>
    Effect.gen(function* () {
      if (mebibytes > 0 && held.length === 0) {
        held.push(Buffer.alloc(mebibytes * 2 ** 20, 1))
        // For whoever counts memory to see it.
        yield* Effect.sleep(3000)
      }
      yield* Effect.sleep(ms)
      witness("double", n)
      return { n: 2 * n }
    }),
})

/** Drops what 7 divides, and fails at what 50 does. */
export const Sieve = Operator.filter("sieve", {
  version,
  worker,
  input: Num,
  retries: 0,
  run: ({ n }) => {
    witness("sieve", n)
    if (n % 50 === 0) return Effect.fail(new Error(`${n} is a poison item`))
    return Effect.succeed(n % 7 === 0 ? drop("seven", `${n} is 7 x ${n / 7}`) : keep)
  },
})

/** Sleeps, and writes a file of a few bytes, with drawn ones: work for a GPU, which the pools file asks for. */
export const Paint = Operator.map("paint", {
  version,
  worker,
  input: Num,
  output: File,
  params: Millis,
  seeded: true,
  needs: [BlobStore],
  run: ({ n }, { ms }, call) =>
    Effect.gen(function* () {
      const begunMs = Date.now()
      yield* Effect.sleep(ms)
      yield* released
      witness("paint", n, begunMs)
      const file = yield* BlobStore.use(({ putBytes }) =>
        putBytes(Buffer.from(`${n} ${call.random.k0} ${call.random.k1}\n`.repeat(50)), "text/plain"),
      )
      return { n, file }
    }),
})

/** One record of all files: work for a gang. */
export const Sum = Operator.collect("sum", {
  version,
  worker,
  input: File,
  output: Num,
  run: (files) => {
    const n = files.reduce((sum, file) => sum + file.n, 0)
    witness("sum", n)
    return Effect.succeed([
      Operator.emit(
        { n },
        files.map((_, i) => i),
      ),
    ])
  },
})
