/** Calling operators without an engine, and models to call them with. */
import { mkdtempSync, rmSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"

import type { Graph, Port } from "@reelgraph/core"
import * as ModelFile from "@reelgraph/models/ModelFile"
import * as ShiftVae from "@reelgraph/models/ShiftVae"
import * as Safetensors from "@reelgraph/onnx/Safetensors"
import type { Frames, Vae } from "@reelgraph/operators/ports"
import { type Artifact, BlobStore, BlobStoreMemory } from "@reelgraph/store"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"

import { inference } from "../../models/test/fixtures.ts"

export type FramesRecord = Port.RecordOf<typeof Frames>

/** An operator with params, as calling it gives. */
type Bound = Pick<Graph.Placed, "operator" | "value">

/** What an operator makes of its input. */
export const call = (
  { operator, value }: Bound,
  input: unknown,
  sides: { readonly [side: string]: unknown } = {},
): Effect.Effect<any, any, BlobStore> => Effect.scoped(operator.run(input, value, { sides } as never))

/** A store in memory, and what operators of models bring. */
export const memory = Layer.merge(BlobStoreMemory.layer, inference)

/** A folder that is removed when the scope closes. */
export const temporaryFolder = Effect.acquireRelease(
  Effect.sync(() => mkdtempSync(join(tmpdir(), "reel-test-"))),
  (folder) => Effect.sync(() => rmSync(folder, { recursive: true, force: true })),
)

/** A shard that is in the store. */
export const opened = ({ sha256 }: Artifact) =>
  Effect.flatMap(
    BlobStore.use((blobs) => blobs.get({ sha256 })),
    (bytes) => Safetensors.decode(bytes),
  )

const level = { width: 8, blocks: 1, expansion: 1 }

/** 4 x 4 x 2 pixels to 3 numbers. */
export const tiny: ShiftVae.Config = {
  zDim: 3,
  fine: 2,
  space: 4,
  time: 2,
  encoder: { fine: level, coarse: level },
  decoder: { fine: level, coarse: level },
  latentsMean: [0.1, -0.2, 0.3],
  latentsStd: [0.5, 1, 2],
}

/** A new autoencoder in a file, as a side input. */
export const vaeFile = (config: ShiftVae.Config = tiny, seed = 1) =>
  Effect.gen(function* () {
    const path = join(yield* temporaryFolder, "vae.safetensors")
    const weights = ShiftVae.initialize(config, seed)
    yield* ModelFile.write(path, { spec: { kind: "vae", model: "ShiftVae", config }, weights }, "f32")
    const file = yield* BlobStore.use((blobs) => blobs.reference(path, "application/octet-stream"))
    const vae: Port.RecordOf<typeof Vae> = { name: "vae.safetensors", file }
    return { vae, path, weights }
  })
