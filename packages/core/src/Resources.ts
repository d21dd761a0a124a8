/**
 * What one call of an operator occupies while it runs. A pool places an operator when one of its nodes has
 * all of it.
 */
import * as Schema from "effect/Schema"

const Positive = Schema.Finite.check(Schema.isGreaterThan(0))

export const Gpu = Schema.Struct({
  count: Schema.Int.check(Schema.isGreaterThan(0)),
  /** Device memory per GPU, in GiB. */
  memoryGiB: Schema.optionalKey(Positive),
  /** A model name such as `h100`; absent: any. */
  model: Schema.optionalKey(Schema.String),
})

export const Resources = Schema.Struct({
  /** CPU cores; a fraction shares a core. */
  cores: Positive,
  /** Main memory in GiB; absent: not accounted for. */
  memoryGiB: Schema.optionalKey(Positive),
  gpu: Schema.optionalKey(Gpu),
}).annotate({ identifier: "Resources" })

export interface Resources extends Schema.Schema.Type<typeof Resources> {}

/** What one node of a pool offers. */
export const Capacity = Schema.Struct({
  name: Schema.String,
  cores: Positive,
  memoryGiB: Positive,
  gpus: Schema.Int.check(Schema.isGreaterThanOrEqualTo(0)),
  gpuMemoryGiB: Schema.optionalKey(Positive),
  gpuModel: Schema.optionalKey(Schema.String),
})

export interface Capacity extends Schema.Schema.Type<typeof Capacity> {}

/** What a request asks beyond a capacity, as text for a person; empty when it fits. */
export const shortfall = (request: Resources, capacity: Capacity): ReadonlyArray<string> => {
  const lacks: Array<string> = []
  if (request.cores > capacity.cores) lacks.push(`${request.cores} cores of ${capacity.cores}`)
  if (request.memoryGiB !== undefined && request.memoryGiB > capacity.memoryGiB) {
    lacks.push(`${request.memoryGiB} GiB of memory of ${capacity.memoryGiB}`)
  }
  if (request.gpu !== undefined) {
    const { count, memoryGiB, model } = request.gpu
    if (count > capacity.gpus) lacks.push(`${count} GPU${count === 1 ? "" : "s"} of ${capacity.gpus}`)
    else if (model !== undefined && model !== capacity.gpuModel)
      lacks.push(`GPU model ${model}, has ${capacity.gpuModel ?? "another"}`)
    else if (memoryGiB !== undefined && memoryGiB > (capacity.gpuMemoryGiB ?? 0)) {
      lacks.push(`${memoryGiB} GiB of GPU memory of ${capacity.gpuMemoryGiB ?? 0}`)
    }
  }
  return lacks
}
