/** Rows of shards, written and read one at a time. */
import type * as DType from "@reelgraph/onnx/DType"
import * as Safetensors from "@reelgraph/onnx/Safetensors"
import type * as Tensor from "@reelgraph/onnx/Tensor"
import { BlobStore } from "@reelgraph/store"
import * as Effect from "effect/Effect"
import * as Schema from "effect/Schema"

import type { Row } from "../ports/Rows.ts"

const mediaType = "application/x-safetensors"

/** A shard has fewer rows than a record says. */
export class RowMissing extends Schema.TaggedError<RowMissing>()("RowMissing", {
  shard: Schema.String,
  row: Schema.Int,
  rows: Schema.Int,
}) {
  override get message() {
    return `there is no row ${this.row} in the shard ${this.shard}, which has ${this.rows}; make it anew`
  }
}

/** Stores a shard of one row: `data` is `[1, ...]`. So what a record names depends on nothing but itself. */
export const write = Effect.fn("rows.write")(function* (name: string, data: Tensor.Tensor) {
  const blobs = yield* BlobStore
  const shard = yield* blobs.putBytes(Safetensors.encode({ tensors: { [name]: data } }), mediaType)
  return { shard, row: 0 } satisfies Row
})

/** The numbers of a row, whose type and shape have to be as expected. */
export const read = Effect.fn("rows.read")(function* <D extends "f16" | "u8">(
  { row, shard }: Row,
  name: string,
  dtype: D,
  shape: ReadonlyArray<number>,
) {
  const blobs = yield* BlobStore
  const file = yield* Safetensors.open(yield* blobs.localPath(shard))
  const rows = file.entries.get(name)?.shape[0] ?? 0
  const { data } = yield* file.read(name, { dtype, shape: [rows, ...shape], finite: true })
  if (row >= rows) return yield* new RowMissing({ shard: shard.sha256, row, rows })
  const size = data.length / rows
  return data.subarray(row * size, (row + 1) * size) as DType.DataOf[D]
}, Effect.scoped)
