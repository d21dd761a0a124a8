/** Clips of the sample world: how many, of what, how large. See packages/world for what they show. */
import { Port } from "@reelgraph/core"
import { Attributes } from "@reelgraph/world"
import * as Effect from "effect/Effect"
import * as Schema from "effect/Schema"

const whole = (minimum: number, maximum: number, value: number) =>
  Schema.Int.check(Schema.isBetween({ minimum, maximum })).pipe(
    Schema.withDecodingDefaultKey(Effect.succeed(value)),
  )

const share = (value: number) =>
  Schema.Finite.check(Schema.isBetween({ minimum: 0, maximum: 1 })).pipe(
    Schema.withDecodingDefaultKey(Effect.succeed(value)),
  )

const look = {
  /** Clips are called `name/0`, `name/1`, ... */
  name: Schema.String.check(
    Schema.isPattern(/^[\w.-]{1,64}$/, { expected: "1 to 64 letters, digits, dots, dashes or underscores" }),
  ),
  seed: Schema.Int,
  /** Combinations of attributes that are shown: those to train on, those that are never trained on, or both. */
  split: Schema.Literals(["trained", "held-out", "all"]).pipe(
    Schema.withDecodingDefaultKey(Effect.succeed("trained" as const)),
  ),
  /** Motions that are shown; all when left out. */
  motions: Schema.optionalKey(Schema.Array(Attributes.Motion).check(Schema.isMinLength(1))),
  /** How freely shapes are placed: 0 near the middle, 1 anywhere. */
  positions: share(1),
  frames: whole(1, 256, 16),
  width: whole(16, 1024, 128),
  height: whole(16, 1024, 72),
  /** How long a clip lasts, whatever its number of frames. */
  seconds: Schema.Finite.check(Schema.isGreaterThan(0)).pipe(
    Schema.withDecodingDefaultKey(Effect.succeed(5)),
  ),
  captionsPerClip: whole(1, 16, 2),
  /** Share of scenes shown as an image: one frame, from the middle. */
  images: share(0),
}

/** Bytes of a clip's pixels, at most: a part's fit into one shard of 256 MiB. */
const maxClipBytes = 2 ** 22

const fits = Schema.makeFilter(
  ({ frames, height, width }: { frames: number; height: number; width: number }) =>
    frames * height * width * 3 <= maxClipBytes ||
    `${frames} frames of ${width}x${height} have more than ${maxClipBytes} bytes: take fewer or smaller ones`,
)

/** So many clips of one kind: `{"name": "world", "seed": 1, "count": 2048}`. */
export const WorldSet = Port.make("WorldSet", {
  record: Schema.Struct({
    ...look,
    count: Schema.Int.check(Schema.isBetween({ minimum: 1, maximum: 1_000_000 })),
  }).check(fits),
})

/** Scenes `from` to `to - 1` of a set: the same ones however many it has. */
export const WorldPart = Port.make("WorldPart", {
  record: Schema.Struct({
    ...look,
    from: Schema.Int.check(Schema.isGreaterThanOrEqualTo(0)),
    to: Schema.Int.check(Schema.isGreaterThan(0)),
  }).check(fits),
})
