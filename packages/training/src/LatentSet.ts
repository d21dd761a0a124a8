/**
 * Training data in memory: latents of clips and token states of their captions, in half precision as they are kept in
 * shards, grouped by size.
 *
 * Memory: 2 bytes for each number of a latent and of a token's state, and one shard beside them while it is read. A
 * clip of 16 channels x 4 x 9 x 16 latents takes 18 KiB, a caption of 12 tokens of 512 numbers 12 KiB. What is needed
 * is counted from the shards' headers before anything is read, and refused beyond `maxBytes`.
 *
 * Shards are those of the ports `Latents` and `TrainingItem`: `mean` f16 `[N, C, T, H, W]`, and `offsets` i64
 * `[M + 1]` with `states` f16 `[all tokens, D]`. Nothing in them is trusted: types, shapes, rows and offsets are
 * checked, and numbers that are not finite are refused.
 */
import * as Half from "@reelgraph/onnx/Half"
import * as Safetensors from "@reelgraph/onnx/Safetensors"
import * as Effect from "effect/Effect"
import * as Schema from "effect/Schema"

/** One row of a shard in a file. */
export interface Row {
  readonly path: string
  readonly row: number
}

/** A record of the port `TrainingItem`, whose shards are files. */
export interface Item {
  readonly name: string
  readonly captions: ReadonlyArray<string>
  readonly latents: Row
  readonly channels: number
  readonly frames: number
  readonly height: number
  readonly width: number
  readonly vae: string
  readonly text: Row
  readonly textEncoder: string
}

/** A shard is not what its items say, or holds what cannot be trained on. */
export class ShardInvalid extends Schema.TaggedError<ShardInvalid>()("ShardInvalid", {
  path: Schema.String,
  /** The item that needs it. */
  item: Schema.String,
  problem: Schema.String,
}) {
  override get message() {
    return `${this.path} cannot be trained on, for ${this.item}: ${this.problem}; make the item again`
  }
}

/** There are no items, or they do not belong together. */
export class ItemsInvalid extends Schema.TaggedError<ItemsInvalid>()("ItemsInvalid", {
  problem: Schema.String,
}) {
  override get message() {
    return `these items are no training set: ${this.problem}`
  }
}

/** The set does not fit into the memory it may take. */
export class LatentSetTooLarge extends Schema.TaggedError<LatentSetTooLarge>()("LatentSetTooLarge", {
  bytes: Schema.Finite,
  maxBytes: Schema.Finite,
}) {
  override get message() {
    return `the training set takes ${this.bytes} bytes of memory, more than the ${this.maxBytes} it may: take fewer items or raise maxBytes`
  }
}

export type LoadError =
  | ItemsInvalid
  | LatentSetTooLarge
  | ShardInvalid
  | Safetensors.SafetensorsInvalid
  | Safetensors.SafetensorsUnreadable
  | Safetensors.TensorMissing
  | Safetensors.TensorMismatch

export interface Options {
  /** Tokens that a caption is padded to, and at most has. @default those of the longest */
  readonly tokens?: number
  /** @default 4 GiB */
  readonly maxBytes?: number
}

/** Clips whose latents are of one size. */
export interface Bucket {
  /** `${T}x${H}x${W}`. */
  readonly name: string
  /** Frames, rows and columns of latents. */
  readonly sizes: readonly [frames: number, height: number, width: number]
  readonly count: number
}

export interface LatentSet {
  /** Sorted by name. Clips are in the order of the items. */
  readonly buckets: ReadonlyArray<Bucket>
  readonly count: number
  /** Digests of the models that made it. */
  readonly vae: string
  readonly textEncoder: string
  /** Of latents. */
  readonly channels: number
  /** L: tokens that captions are padded to. */
  readonly tokens: number
  /** D: numbers of a token's state. */
  readonly width: number
  /** What it takes in memory. */
  readonly bytes: number
  readonly name: (bucket: string, index: number) => string
  readonly captions: (bucket: string, index: number) => ReadonlyArray<string>
  readonly caption: (bucket: string, index: number, which: number) => string
  /** Writes a clip's latents `[C, T, H, W]` to `out` from `offset` on. */
  readonly latents: (bucket: string, index: number, out: Float32Array, offset: number) => void
  /** Writes a caption's states `[L, D]`, zeros after its end, to `out` from `offset` on; gives how many tokens it has. */
  readonly states: (bucket: string, index: number, which: number, out: Float32Array, offset: number) => number
}

/** Where a caption's states are. */
interface Span {
  readonly states: Uint16Array
  readonly begin: number
  readonly tokens: number
}

/** A bucket with what is in it. */
interface Filled extends Bucket {
  readonly items: ReadonlyArray<Item>
  /** `[count, C, T, H, W]`. */
  readonly latents: Uint16Array
}

const defaultMaxBytes = 4 * 2 ** 30

const sizeOf = ({ channels, frames, height, width }: Item): number => channels * frames * height * width

const bucketOf = ({ frames, height, width }: Item): string => `${frames}x${height}x${width}`

/** Infinite numbers and NaN have all exponent bits set. */
const firstNotFinite = (halves: Uint16Array): number => {
  for (let i = 0; i < halves.length; i++) if ((halves[i]! & 0x7c00) === 0x7c00) return i
  return -1
}

const only = <A>(items: ReadonlyArray<Item>, what: string, of: (item: Item) => A) =>
  Effect.suspend(() => {
    const first = of(items[0]!)
    const other = items.find((item) => of(item) !== first)
    return other === undefined
      ? Effect.succeed(first)
      : new ItemsInvalid({
          problem: `${items[0]!.name} has the ${what} ${String(first)}, and ${other.name} ${String(of(other))}`,
        })
  })

const isCount = (value: number): boolean => Number.isSafeInteger(value) && value > 0

const checkItems = Effect.fnUntraced(function* (items: ReadonlyArray<Item>) {
  if (items.length === 0) return yield* new ItemsInvalid({ problem: "there are none" })
  for (const item of items) {
    const { captions, channels, frames, height, name, width } = item
    if (![channels, frames, height, width].every(isCount))
      return yield* new ItemsInvalid({ problem: `${name} has latents of ${channels}x${bucketOf(item)}` })
    if (captions.length === 0) return yield* new ItemsInvalid({ problem: `${name} has no caption` })
  }
  return {
    channels: yield* only(items, "channels", ({ channels }) => channels),
    vae: yield* only(items, "autoencoder", ({ vae }) => vae),
    textEncoder: yield* only(items, "text encoder", ({ textEncoder }) => textEncoder),
  }
})

const byPath = (items: ReadonlyArray<Item>, row: (item: Item) => Row) =>
  Map.groupBy(items, (item) => row(item).path)

/** Copies every item's row of `mean` to its place. */
const readLatents = Effect.fnUntraced(function* (
  path: string,
  items: ReadonlyArray<Item>,
  place: ReadonlyMap<Item, Uint16Array>,
) {
  const file = yield* Safetensors.open(path)
  const { data, shape } = yield* file.read("mean", { dtype: "f16" })
  for (const item of items) {
    const { channels, frames, height, latents, name, width } = item
    const invalid = (problem: string) => new ShardInvalid({ path, item: name, problem })
    const expected = [channels, frames, height, width]
    if (shape.length !== 5 || !expected.every((dim, i) => dim === shape[i + 1]))
      return yield* invalid(`mean is [${shape.join(", ")}], not [N, ${expected.join(", ")}]`)
    if (!Number.isInteger(latents.row) || latents.row < 0 || latents.row >= shape[0]!)
      return yield* invalid(`there is no row ${latents.row} of ${shape[0]}`)
    const size = sizeOf(item)
    const row = data.subarray(latents.row * size, (latents.row + 1) * size)
    const at = firstNotFinite(row)
    if (at >= 0) return yield* invalid(`its latents are not finite at ${at} of row ${latents.row}`)
    place.get(item)!.set(row)
  }
}, Effect.scoped)

/** The spans of every item's captions in one shard. */
const readStates = Effect.fnUntraced(function* (
  path: string,
  items: ReadonlyArray<Item>,
  spans: Map<Item, ReadonlyArray<Span>>,
) {
  const file = yield* Safetensors.open(path)
  const offsets = yield* file.read("offsets", { dtype: "i64" })
  const { data, shape } = yield* file.read("states", { dtype: "f16" })
  const invalid = (problem: string, { name } = items[0]!) => new ShardInvalid({ path, item: name, problem })
  const [tokens, width] = shape as readonly [number, number]
  const begins = Array.from(offsets.data, Number)
  if (shape.length !== 2 || width < 1)
    return yield* invalid(`states are [${shape.join(", ")}], not [tokens, D]`)
  const rises = begins.every((begin, i) => begin >= (begins[i - 1] ?? 0))
  if (offsets.shape.length !== 1 || begins[0] !== 0 || begins.at(-1) !== tokens || !rises)
    return yield* invalid(`its offsets do not rise from 0 to its ${tokens} tokens`)
  const states = data
  const at = firstNotFinite(states)
  if (at >= 0) return yield* invalid(`its states are not finite at ${at}`)
  const parts: Array<Uint16Array> = []
  let kept = 0
  for (const item of items) {
    const { captions, text } = item
    const end = text.row + captions.length
    if (!Number.isInteger(text.row) || text.row < 0 || end >= begins.length)
      return yield* invalid(`there are no rows ${text.row} to ${end - 1} of ${begins.length - 1}`, item)
    parts.push(states.subarray(begins[text.row]! * width, begins[end]! * width))
    kept += parts.at(-1)!.length
  }
  // What nobody needs is let go with the shard.
  const own = new Uint16Array(kept)
  let base = 0
  items.forEach((item, i) => {
    own.set(parts[i]!, base)
    const from = item.text.row
    const first = begins[from]!
    const begin = base
    spans.set(
      item,
      item.captions.map((_, which) => ({
        states: own,
        begin: begin + (begins[from + which]! - first) * width,
        tokens: begins[from + which + 1]! - begins[from + which]!,
      })),
    )
    base += parts[i]!.length
  })
  return width
}, Effect.scoped)

/** Bytes of the states in a shard, by its header. */
const statesBytes = (path: string) =>
  Effect.scoped(
    Effect.map(Safetensors.open(path), ({ entries }) => {
      const entry = entries.get("states")
      return entry === undefined ? 0 : entry.end - entry.begin
    }),
  )

/** Makes room for every bucket, and tells each item's place in it. */
const allocate = (items: ReadonlyArray<Item>) => {
  const place = new Map<Item, Uint16Array>()
  const buckets = [...Map.groupBy(items, bucketOf)]
    .toSorted(([a], [b]) => (a < b ? -1 : 1))
    .map(([name, inside]): Filled => {
      const [first] = inside
      const { frames, height, width } = first!
      const size = sizeOf(first!)
      const latents = new Uint16Array(inside.length * size)
      inside.forEach((item, i) => place.set(item, latents.subarray(i * size, (i + 1) * size)))
      return { name, sizes: [frames, height, width], count: inside.length, items: inside, latents }
    })
  return { buckets, place }
}

/** Reads every shard of the items once. Fails before reading when the set would not fit into `maxBytes`. */
export const load = Effect.fn("LatentSet.load")(function* (
  given: ReadonlyArray<Item>,
  { maxBytes = defaultMaxBytes, tokens: padded }: Options = {},
) {
  // Items are told apart by identity: one that is given twice is two.
  const items = given.map((item) => ({ ...item }))
  const { channels, textEncoder, vae } = yield* checkItems(items)
  const texts = byPath(items, ({ text }) => text)
  const ofStates = yield* Effect.forEach(texts.keys(), statesBytes)
  const ofLatents = items.reduce((sum, item) => sum + 2 * sizeOf(item), 0)
  const bytes = ofStates.reduce((sum, each) => sum + each, ofLatents)
  if (bytes > maxBytes) return yield* new LatentSetTooLarge({ bytes, maxBytes })

  const { buckets, place } = allocate(items)
  for (const [path, inside] of byPath(items, ({ latents }) => latents))
    yield* readLatents(path, inside, place)
  const spans = new Map<Item, ReadonlyArray<Span>>()
  let width: number | undefined
  for (const [path, inside] of texts) {
    const found = yield* readStates(path, inside, spans)
    width ??= found
    if (found !== width)
      return yield* new ShardInvalid({
        path,
        item: inside[0]!.name,
        problem: `its states have ${found} numbers a token, others ${width}`,
      })
  }
  let longest = 1
  for (const each of spans.values()) for (const { tokens } of each) longest = Math.max(longest, tokens)
  if (padded !== undefined && longest > padded)
    return yield* new ItemsInvalid({
      problem: `a caption has ${longest} tokens, and there is room for ${padded}`,
    })
  return setOf({
    buckets,
    spans,
    channels,
    textEncoder,
    vae,
    bytes,
    tokens: padded ?? longest,
    width: width!,
  })
}) satisfies (items: ReadonlyArray<Item>, options?: Options) => Effect.Effect<LatentSet, LoadError>

interface Loaded extends Pick<LatentSet, "bytes" | "channels" | "textEncoder" | "tokens" | "vae" | "width"> {
  readonly buckets: ReadonlyArray<Filled>
  readonly spans: ReadonlyMap<Item, ReadonlyArray<Span>>
}

const setOf = ({ buckets, spans, ...facts }: Loaded): LatentSet => {
  const { tokens, width } = facts
  const byName = new Map(
    buckets.map((bucket) => [
      bucket.name,
      {
        ...bucket,
        size: bucket.latents.length / bucket.count,
        captions: bucket.items.map((item) => spans.get(item)!),
      },
    ]),
  )
  const at = (name: string, index: number) => {
    const bucket = byName.get(name)
    if (bucket === undefined || bucket.items[index] === undefined)
      throw new RangeError(`there is no clip ${index} in a bucket ${name}`)
    return bucket
  }
  const itemAt = (name: string, index: number): Item => at(name, index).items[index]!
  return {
    ...facts,
    buckets: buckets.map(({ count, name, sizes }) => ({ name, sizes, count })),
    count: spans.size,
    name: (bucket, index) => itemAt(bucket, index).name,
    captions: (bucket, index) => itemAt(bucket, index).captions,
    caption: (bucket, index, which) => itemAt(bucket, index).captions[which]!,
    latents: (name, index, out, offset) => {
      const { latents, size } = at(name, index)
      const from = latents.subarray(index * size, (index + 1) * size)
      Half.toFloat32("f16", from, out.subarray(offset, offset + size))
    },
    states: (name, index, which, out, offset) => {
      const span = at(name, index).captions[index]![which]
      if (span === undefined) throw new RangeError(`clip ${index} in ${name} has no caption ${which}`)
      const end = span.begin + span.tokens * width
      const into = out.subarray(offset, offset + tokens * width)
      Half.toFloat32("f16", span.states.subarray(span.begin, end), into)
      into.fill(0, span.tokens * width)
      return span.tokens
    },
  }
}
