/** Operators for gangs: one whose ranks really meet, and what a small training needs. */
import { writeFileSync, existsSync, readFileSync } from "node:fs"
import { connect, createServer, type Socket } from "node:net"
import { join } from "node:path"
import { createInterface } from "node:readline"

import { CounterRandom, Operator, Port } from "@reelgraph/core"
import * as Half from "@reelgraph/onnx/Half"
import * as Safetensors from "@reelgraph/onnx/Safetensors"
import * as Tensor from "@reelgraph/onnx/Tensor"
import { Checkpoint, Denoiser, TrainingItem } from "@reelgraph/operators/ports"
import { Artifact, BlobStore, Scratch, Unfinished } from "@reelgraph/store"
import * as Gang from "@reelgraph/training/Gang"
import * as Effect from "effect/Effect"
import * as Schema from "effect/Schema"

import { Num } from "../runtime/slurm/test/operators.ts"

const version = "1.0.0"
const worker = import.meta.url

/** What a rank tells rank 0. */
const Said = Schema.Struct({
  rank: Schema.Int,
  localRank: Schema.Int,
  node: Schema.String,
  gpus: Schema.String,
  number: Schema.Int,
  /** What it found in the folder that the gang shares. */
  left: Schema.String,
})
type Said = typeof Said.Type

export const Meeting = Port.make("Meeting", {
  record: Schema.Struct({ sum: Schema.Int, ranks: Schema.Array(Said) }),
})

const lineOf = (socket: Socket): Promise<string> =>
  new Promise((resolve, reject) => {
    createInterface({ input: socket }).once("line", resolve)
    socket.once("error", reject).once("close", () => reject(new Error("the other side has gone")))
  })

/** Rank 0: adds up what all others say, and tells them. */
const host = async ({ port, ranks }: Gang.Gang, own: Said): Promise<ReadonlyArray<Said>> => {
  const server = createServer()
  const said = [own]
  const sockets: Array<Socket> = []
  try {
    await new Promise<void>((resolve, reject) => {
      server.once("error", reject)
      server.on("connection", (socket) => {
        sockets.push(socket)
        lineOf(socket).then((line) => {
          said.push(JSON.parse(line) as Said)
          if (said.length === ranks) resolve()
        }, reject)
      })
      server.listen(port, "0.0.0.0")
    })
    const sum = said.reduce((all, { number }) => all + number, 0)
    for (const socket of sockets) socket.end(`${sum}\n`)
  } finally {
    server.close()
  }
  return said.toSorted((a, b) => a.rank - b.rank)
}

/** Another rank: comes again until rank 0 listens. */
const guest = async ({ address, port }: Gang.Gang, own: () => Said): Promise<number> => {
  for (let tries = 0; ; tries++) {
    try {
      const socket = connect(port, address)
      await new Promise((resolve, reject) => socket.once("connect", resolve).once("error", reject))
      socket.write(`${JSON.stringify(own())}\n`)
      return Number(await lineOf(socket))
    } catch (cause) {
      if (tries === 600) throw cause
      await new Promise((resolve) => setTimeout(resolve, 100))
    }
  }
}

/** All ranks add their numbers up. The last one fails at first, if there is a file to remember that in. */
export const Meet = Operator.collect("meet", {
  version,
  worker,
  input: Num,
  output: Meeting,
  params: Schema.Struct({ failed: Schema.String }),
  needs: [Unfinished],
  run: (items, { failed }, call) =>
    Effect.gen(function* () {
      const gang = yield* Gang.current
      if (failed !== "" && gang.rank === gang.ranks - 1 && !existsSync(failed)) {
        writeFileSync(failed, "")
        return yield* Effect.fail(new Error("the last rank fails once"))
      }
      const unfinished = yield* Unfinished
      const folder = yield* gang.rank === 0 ? unfinished.use(call.key) : unfinished.share(call.key)
      const note = join(folder, "note")
      if (gang.rank === 0) writeFileSync(note, "from rank 0")
      const own = (): Said => ({
        rank: gang.rank,
        localRank: gang.localRank,
        // oxlint-disable-next-line node/no-process-env -- a test looks at what Slurm sets
        node: process.env["SLURMD_NODENAME"] ?? "",
        // oxlint-disable-next-line node/no-process-env -- and at what the worker makes of it
        gpus: process.env["CUDA_VISIBLE_DEVICES"] ?? "",
        number: 10 ** gang.rank,
        left: readFileSync(note, "utf8"),
      })
      if (gang.rank > 0) {
        const sum = yield* Effect.promise(() => guest(gang, own))
        if (sum !== Number("1".repeat(gang.ranks)))
          return yield* Effect.fail(new Error(`rank ${gang.rank} heard ${sum}`))
        return []
      }
      const ranks = yield* Effect.promise(() => host(gang, own()))
      yield* unfinished.discard(call.key)
      const sum = ranks.reduce((all, { number }) => all + number, 0)
      return [Operator.emit({ sum, ranks }, [...items.keys()])]
    }),
})

const size = { channels: 2, frames: 2, height: 4, width: 4 }
const states = 6

/** So many training items of random numbers. */
export const Items = Operator.flatMap("items", {
  version,
  input: Num,
  output: TrainingItem,
  needs: [BlobStore, Scratch],
  run: ({ n }) =>
    Effect.gen(function* () {
      const blobs = yield* BlobStore
      const folder = yield* Scratch.use(({ directory }) => directory)
      const random = (what: string, shape: ReadonlyArray<number>) => {
        const length = shape.reduce((a, b) => a * b, 1)
        const numbers = CounterRandom.uniforms(CounterRandom.key(1, what, "test"), length)
        return Tensor.make(
          "f16",
          shape,
          Half.fromFloat32(
            "f16",
            Float32Array.from(numbers, (u) => 4 * u - 2),
          ),
        )
      }
      const put = Effect.fnUntraced(function* (name: string, tensors: Safetensors.Contents["tensors"]) {
        const path = join(folder, name)
        yield* Safetensors.write(path, { tensors })
        return yield* blobs.putFile(path, "application/safetensors", { move: true })
      })
      const { channels, frames, height, width } = size
      const latents = yield* put("latents", { mean: random("mean", [n, channels, frames, height, width]) })
      const offsets = Array.from({ length: n + 1 }, (_, i) => 2 * i)
      const text = yield* put("text", {
        offsets: Tensor.i64([n + 1], offsets),
        states: random("states", [2 * n, states]),
      })
      return Array.from({ length: n }, (_, row) => ({
        ...size,
        name: `item-${row}`,
        captions: [`item ${row}`],
        seconds: 1,
        latents: { shard: latents, row },
        vae: "v",
        text: { shard: text, row },
        textEncoder: "t",
      }))
    }),
})

/** No model to begin with. */
export const NoModel = Operator.flatMap("no-model", {
  version,
  input: Num,
  output: Denoiser,
  run: () => Effect.succeed([]),
})

export const Trained = Port.make("Trained", { record: Schema.Struct({ step: Schema.Int, file: Artifact }) })

/** A checkpoint without what differs from run to run: the times in its curve. */
export const Bare = Operator.map("bare", {
  version,
  input: Checkpoint,
  output: Trained,
  run: ({ file, step }) => Effect.succeed({ step, file }),
})
