export interface Items {
  readonly size: readonly [number, number, number]
  readonly count: number
  readonly latents: (index: number, out: Float32Array, offset: number) => void
  readonly captions: (index: number) => number
  readonly states: (index: number, caption: number, out: Float32Array, offset: number) => number
}
export interface LatentSet {
  readonly buckets: ReadonlyMap<string, Items>
}
