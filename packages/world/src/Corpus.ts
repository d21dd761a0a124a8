/**
 * A few scenes with a name and a caption each: a corpus small enough to look at.
 *
 * All colours are in it, in combinations that are trained on. In eight scenes the shape is so large, fast and unlike
 * its background that half of the frames change by 0.28 levels of luma (of 255) or more when a scene takes 120 frames:
 * a filter that looks for motion keeps them.
 */
import * as CounterRandom from "@reelgraph/core/CounterRandom"

import * as Captions from "./Captions.ts"
import type * as Attributes from "./Attributes.ts"
import * as Scene from "./Scene.ts"

export interface Item {
  /** `pink-star-up`: what files of it are called. */
  readonly name: string
  /** Different ones, with the words of training. */
  readonly captions: ReadonlyArray<string>
  readonly scene: Scene.Scene
}

/** Captions of each item. */
const CAPTIONS = 4

const itemOf = (attributes: Attributes.Attributes, seed: number): Item => {
  const { colour, motion, shape } = attributes
  const name = `${colour}-${shape}-${motion}`
  const key = (of: string) => CounterRandom.key(seed, name, of)
  return {
    name,
    captions: Array.from({ length: CAPTIONS }, (_, i) =>
      Captions.caption(attributes, key(`world/caption/${i}`)),
    ),
    scene: Scene.make(attributes, key("world/scene")),
  }
}

/** Something moves in each of them. The seeds are those of 16 that move most. */
export const moving: ReadonlyArray<Item> = [
  itemOf({ colour: "red", shape: "circle", motion: "right", background: "white" }, 15),
  itemOf({ colour: "yellow", shape: "square", motion: "left", background: "black" }, 5),
  itemOf({ colour: "cyan", shape: "triangle", motion: "orbit", background: "navy" }, 2),
  itemOf({ colour: "purple", shape: "star", motion: "left", background: "sand" }, 11),
  itemOf({ colour: "blue", shape: "circle", motion: "up", background: "white" }, 4),
  itemOf({ colour: "green", shape: "triangle", motion: "orbit", background: "white" }, 1),
  itemOf({ colour: "pink", shape: "star", motion: "up", background: "black" }, 0),
  itemOf({ colour: "orange", shape: "star", motion: "down", background: "navy" }, 9),
]

/** Nothing moves in it. */
export const resting: Item = itemOf(
  { colour: "green", shape: "square", motion: "still", background: "gray" },
  0,
)
