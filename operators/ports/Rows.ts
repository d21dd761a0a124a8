/** Tensors in shards: a safetensors file holds those of many items, and an item is a row of it. */
import { Artifact } from "@reelgraph/store"
import * as Schema from "effect/Schema"

/** One entry along the first axis of a shard's tensors. */
export const Row = Schema.Struct({ shard: Artifact, row: Schema.Int })
export type Row = typeof Row.Type

/** What ports of things with captions have in common. */
export const captioned = {
  /** For people: the base name of the file, or what was asked for. */
  name: Schema.String,
  /** What it shows, in one or more wordings. */
  captions: Schema.Array(Schema.String),
  /** How long it lasts. */
  seconds: Schema.Finite,
}
