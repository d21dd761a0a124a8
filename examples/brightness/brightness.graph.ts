/**
 * A graph with operators of its own: notes about scenes, those that are bright enough, each with a title card.
 *
 *     reel run ./brightness.graph.ts --input scenes=scenes.ndjson
 */
import { drop, Graph, keep, Operator, Port } from "@reelgraph/core"
import * as Effect from "effect/Effect"
import * as Schema from "effect/Schema"

/** What goes in: a scene, and the mean luma of some of its frames (0 black to 255 white). */
export const Scene = Port.make("Scene", {
  record: Schema.Struct({
    name: Schema.NonEmptyString,
    luma: Schema.Array(Schema.Finite.check(Schema.isBetween({ minimum: 0, maximum: 255 }))),
  }),
})

/** What comes out: a line to show before the scene. */
export const Card = Port.make("Card", {
  record: Schema.Struct({ name: Schema.String, text: Schema.String }),
})

const mean = (values: ReadonlyArray<number>): number =>
  values.reduce((sum, value) => sum + value, 0) / values.length

/** Keeps scenes that are bright enough on the whole, and not washed out. */
export const Brightness = Operator.filter("brightness", {
  version: "1.0.0",
  description: "Keeps scenes whose mean luma is within bounds",
  params: Schema.Struct({
    min: Schema.Finite.check(Schema.isBetween({ minimum: 0, maximum: 255 })),
    max: Schema.Finite.check(Schema.isBetween({ minimum: 0, maximum: 255 })).pipe(
      Schema.withDecodingDefaultKey(Effect.succeed(235)),
    ),
  }),
  input: Scene,
  run: ({ luma }, { max, min }) => {
    if (luma.length === 0) return Effect.succeed(drop("no-frames"))
    const level = mean(luma)
    if (level < min) return Effect.succeed(drop("too-dark", `mean luma ${level.toFixed(1)} below ${min}`))
    if (level > max) return Effect.succeed(drop("too-bright", `mean luma ${level.toFixed(1)} above ${max}`))
    return Effect.succeed(keep)
  },
})

/** Writes the card of a scene. */
export const TitleCard = Operator.map("title-card", {
  version: "1.0.0",
  description: "Writes a line to show before a scene",
  params: Schema.Struct({
    prefix: Schema.String.pipe(Schema.withDecodingDefaultKey(Effect.succeed("Next: "))),
  }),
  input: Scene,
  output: Card,
  run: ({ luma, name }, { prefix }) =>
    Effect.succeed({ name, text: `${prefix}${name} (luma ${Math.round(mean(luma))})` }),
})

export default Graph.make("brightness", { version: "1.0.0" }, (g) => {
  const scenes = g.input("scenes", Scene)
  return { cards: scenes.pipe(Brightness({ min: 40 }), TitleCard()) }
})
