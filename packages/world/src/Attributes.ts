/**
 * What a clip of the sample world shows: one shape of one colour, in one motion, on one background.
 *
 * 8 colours x 4 shapes x 7 motions x 5 backgrounds are 1,120 combinations. One in ten is held out of training
 * (`heldOut`), so that a model which draws it has put it together from its parts.
 */
import * as CounterRandom from "@reelgraph/core/CounterRandom"
import * as Schema from "effect/Schema"

/** Red, green and blue, 0 to 255 each (not necessarily whole). */
export type Rgb = readonly [number, number, number]

export const Colour = Schema.Literals(["red", "green", "blue", "yellow", "purple", "orange", "cyan", "pink"])
export type Colour = typeof Colour.Type

export const Shape = Schema.Literals(["circle", "square", "triangle", "star"])
export type Shape = typeof Shape.Type

export const Motion = Schema.Literals(["left", "right", "up", "down", "still", "grow", "orbit"])
export type Motion = typeof Motion.Type

export const Background = Schema.Literals(["black", "white", "gray", "navy", "sand"])
export type Background = typeof Background.Type

/** The four attributes of a clip. */
export const Attributes = Schema.Struct({
  colour: Colour,
  shape: Shape,
  motion: Motion,
  background: Background,
})
export type Attributes = typeof Attributes.Type

/** What each colour of a shape is before jitter and shading. */
export const colours: Readonly<Record<Colour, Rgb>> = {
  red: [220, 40, 40],
  green: [40, 165, 70],
  blue: [50, 90, 225],
  yellow: [240, 215, 45],
  purple: [145, 55, 190],
  orange: [242, 130, 30],
  cyan: [55, 200, 215],
  pink: [242, 105, 170],
}

/** What each background is before jitter, gradient, waves and grain. */
export const backgrounds: Readonly<Record<Background, Rgb>> = {
  black: [14, 14, 16],
  white: [242, 242, 240],
  gray: [128, 128, 130],
  navy: [20, 28, 78],
  sand: [222, 203, 160],
}

/** Every combination, backgrounds changing fastest. */
export const all: ReadonlyArray<Attributes> = Colour.literals.flatMap((colour) =>
  Shape.literals.flatMap((shape) =>
    Motion.literals.flatMap((motion) =>
      Background.literals.map((background) => ({ colour, shape, motion, background })),
    ),
  ),
)

/** A combination's place in `all`. */
export const index = ({ background, colour, motion, shape }: Attributes): number =>
  ((Colour.literals.indexOf(colour) * Shape.literals.length + Shape.literals.indexOf(shape)) *
    Motion.literals.length +
    Motion.literals.indexOf(motion)) *
    Background.literals.length +
  Background.literals.indexOf(background)

/**
 * The combinations in an order that is fixed and without pattern: sorted by a random number each. The seed is the one
 * of 3,000 whose first tenth has each colour, shape, motion and background most evenly.
 */
const shuffled: ReadonlyArray<Attributes> = (() => {
  const ranks = CounterRandom.uniforms(CounterRandom.key(1351, "attributes", "world/split"), all.length)
  return all.toSorted((a, b) => ranks[index(a)]! - ranks[index(b)]!)
})()

/** The 112 combinations that are never trained on. Without pattern, so that any first part is a fair sample. */
export const heldOut: ReadonlyArray<Attributes> = shuffled.slice(0, all.length / 10)

/** The 1,008 combinations to train on, in the order of `all`. */
export const trained: ReadonlyArray<Attributes> = shuffled
  .slice(heldOut.length)
  .toSorted((a, b) => index(a) - index(b))
