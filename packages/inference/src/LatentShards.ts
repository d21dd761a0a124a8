/** Shards in the store: safetensors files whose tensors hold one item in each row. */
import { type Artifact, BlobStore } from "@reelgraph/store"
import * as Safetensors from "@reelgraph/onnx/Safetensors"
import type * as DType from "@reelgraph/onnx/DType"
import type * as Tensor from "@reelgraph/onnx/Tensor"
import * as Effect from "effect/Effect"
import * as Schema from "effect/Schema"

/** One entry along the first axis of a shard's tensors. */
export interface Row {
  readonly shard: Artifact
  readonly row: number
}

/** A record says of its row what is not so. */
export class RowInvalid extends Schema.TaggedError<RowInvalid>()("RowInvalid", {
  shard: Schema.String,
  row: Schema.Int,
  expected: Schema.String,
  found: Schema.String,
}) {
  override get message() {
    return `row ${this.row} of shard ${this.shard} was to be ${this.expected}, and the tensor is ${this.found}; run the graph again from where the record was made`
  }
}

/** The media type of model files and shards. */
const mediaType = "application/safetensors"

/** Puts a shard into the store. */
export const put = (tensors: Safetensors.Contents["tensors"]) =>
  BlobStore.use((blobs) => blobs.putBytes(Safetensors.encode({ tensors }), mediaType))

/** Stores a shard of one row: `data` is `[1, ...]`. So what a record names depends on nothing but itself. */
export const putRow = (name: string, data: Tensor.Tensor) =>
  Effect.map(put({ [name]: data }), (shard): Row => ({ shard, row: 0 }))

interface Wanted {
  readonly at: Row
  /** The shape of the row, without the first axis. */
  readonly shape: ReadonlyArray<number>
}

/**
 * One tensor's rows, in the order asked for, each with an array of its own. Every shard is read once, one after the
 * other, and released. Numbers that are not finite are refused.
 */
export const rows = Effect.fn("LatentShards.rows")(function* <D extends DType.DType>(
  wanted: ReadonlyArray<Wanted>,
  tensor: string,
  dtype: D,
) {
  const blobs = yield* BlobStore
  const found: Array<DType.DataOf[D]> = []
  const places = Map.groupBy(wanted.keys(), (i) => wanted[i]!.at.shard.sha256)
  for (const inShard of places.values()) {
    const whole = yield* Effect.scoped(
      Effect.gen(function* () {
        const path = yield* blobs.localPath(wanted[inShard[0]!]!.at.shard)
        const file = yield* Safetensors.open(path)
        return yield* file.read(tensor, { dtype, finite: true })
      }),
    )
    for (const i of inShard) {
      const { at, shape } = wanted[i]!
      const row = rowOf(whole, at.row, shape)
      if (row === undefined)
        return yield* new RowInvalid({
          shard: at.shard.sha256,
          row: at.row,
          expected: `${tensor} [${shape.join(", ")}]`,
          found: `[${whole.shape.join(", ")}]`,
        })
      found[i] = row
    }
  }
  return found
})

/** One row's numbers. */
export const row = <D extends DType.DType>(at: Row, tensor: string, dtype: D, shape: ReadonlyArray<number>) =>
  Effect.map(rows([{ at, shape }], tensor, dtype), ([found]) => found!)

const rowOf = <D extends DType.DType>(
  { data, shape: [count, ...rest] }: Tensor.Tensor<D>,
  row: number,
  shape: ReadonlyArray<number>,
): DType.DataOf[D] | undefined => {
  const size = shape.reduce((product, dim) => product * dim, 1)
  const fits =
    row >= 0 && row < count! && rest.length === shape.length && rest.every((dim, i) => dim === shape[i])
  return fits ? (data.slice(row * size, (row + 1) * size) as DType.DataOf[D]) : undefined
}
