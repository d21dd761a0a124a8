/**
 * Every number of one clip, as a plain value: where the shape is at any time, and what it and its background look
 * like. `Render` turns it into pixels, at any rate, size and crop.
 *
 * Lengths are in units: a picture's shorter side is 72 of them, whatever it has pixels, so that 72x72 and 144x144
 * show the same. Time u goes from 0 to 1. Each number is a draw of its own of the key, so that a scene is a
 * continuous function of `positions` and its look does not depend on its motion.
 *
 * `positions` is a curriculum. At 0 paths cross the middle of the picture, a few units of jitter apart; at 1 they are
 * anywhere where the shape stays inside, uniformly.
 */
import * as CounterRandom from "@reelgraph/core/CounterRandom"
import * as Attributes from "./Attributes.ts"
import * as Outline from "./Outline.ts"

/** Where a shape is, and its radius, in units. */
export interface Place {
  readonly x: number
  readonly y: number
  readonly radius: number
}

/** A straight, even path from one place to another, with one clockwise turn of a circle added to it. */
export interface Track {
  readonly from: Place
  readonly to: Place
  readonly orbit: { readonly radius: number; readonly phase: number }
}

export interface Backdrop {
  readonly rgb: Attributes.Rgb
  /** What is added at the right and at the lower edge, and subtracted at the other one. */
  readonly gradient: readonly [number, number]
  /** amplitude * sin(phase + kx x + ky y). */
  readonly wave: {
    readonly amplitude: number
    readonly kx: number
    readonly ky: number
    readonly phase: number
  }
  /** Normal noise that stands still, one number per pixel at scale 1. */
  readonly grain: { readonly deviation: number; readonly seed: number }
}

export interface Scene {
  readonly attributes: Attributes.Attributes
  /** Pixels at scale 1. */
  readonly width: number
  readonly height: number
  readonly track: Track
  readonly rgb: Attributes.Rgb
  /** The share of light lost one radius to the lower right of the centre, and won on the other side. */
  readonly shading: number
  readonly backdrop: Backdrop
}

export type Positions = "free" | "near" | number

export interface Options {
  /** @default 128 */
  readonly width?: number
  /** @default 72 */
  readonly height?: number
  /** @default "free", which is 1; "near" is 0 */
  readonly positions?: Positions
}

/** Units along a picture's shorter side. */
export const SHORTER_SIDE = 72

/** Units between the shape and the picture's edge, at least. */
export const MARGIN = 1

/** Pixels per unit at scale 1. */
export const pixelsPerUnit = ({ height, width }: Pick<Scene, "width" | "height">): number =>
  Math.min(width, height) / SHORTER_SIDE

/** Where the shape is at time u. */
export const at = ({ track: { from, orbit, to } }: Scene, u: number): Place => {
  const angle = orbit.phase + 2 * Math.PI * u
  return {
    x: from.x + (to.x - from.x) * u + orbit.radius * Math.cos(angle),
    y: from.y + (to.y - from.y) * u + orbit.radius * Math.sin(angle),
    radius: from.radius + (to.radius - from.radius) * u,
  }
}

/** The draws of a scene: which number of its stream each one is. */
const draws = [
  "radius",
  "grown",
  "travel",
  "orbit",
  "phase",
  "x",
  "y",
  "red",
  "green",
  "blue",
  "shading",
  "backRed",
  "backGreen",
  "backBlue",
  "gradientX",
  "gradientY",
  "waveAmplitude",
  "waveX",
  "waveY",
  "wavePhase",
  "grain",
  "grainSeed",
] as const

/** A number between two, by the draw of that name. */
type Between = (draw: (typeof draws)[number], low: number, high: number) => number

const drawing = (key: CounterRandom.Key): Between => {
  const numbers = CounterRandom.uniforms(key, draws.length)
  return (draw, low, high) => low + (high - low) * numbers[draws.indexOf(draw)]!
}

const mix = (near: number, free: number, positions: number): number => near + (free - near) * positions

/** Units that a path needs at least, across and down. */
const least: Readonly<Record<Attributes.Motion, readonly [number, number]>> = {
  left: [30, 0],
  right: [30, 0],
  up: [0, 20],
  down: [0, 20],
  still: [0, 0],
  grow: [0, 0],
  orbit: [16, 16],
}

/** Radii at the beginning and at the end: less where the path would not fit otherwise. */
const radii = (
  { motion, shape }: Attributes.Attributes,
  rooms: readonly [number, number],
  between: Between,
): readonly [number, number] => {
  if (motion === "grow") return [between("radius", 6.5, 8.5), between("grown", 14.5, 17.5)]
  const { down, side, up } = Outline.extents[shape]
  const [across, along] = least[motion]
  const fitting = Math.min((rooms[0] - across) / (2 * side), (rooms[1] - along) / (up + down))
  const radius = Math.min(between("radius", shape === "star" ? 13 : 11.5, 15.5), fitting)
  return [radius, radius]
}

/** The length of a straight path, where `room` fits: 30 to 60, or 70 to 100 % of the room where that is less. */
const travel = (room: number, least: number, positions: number, between: Between): number => {
  const low = Math.min(mix(44, 30, positions), mix(0.85, 0.7, positions) * room)
  return between("travel", Math.max(least, low), Math.min(60, room))
}

/** A number in [low, high]: within `jitter` of the middle at positions 0, anywhere at 1. */
const placed = (
  draw: "x" | "y",
  [low, high]: readonly [number, number],
  jitter: number,
  positions: number,
  between: Between,
): number => {
  const middle = (low + high) / 2
  const half = (high - low) / 2
  const reach = mix(Math.min(jitter, half), half, positions)
  return between(draw, middle - reach, middle + reach)
}

const trackOf = (
  attributes: Attributes.Attributes,
  size: readonly [number, number],
  positions: number,
  between: Between,
): Track => {
  const { motion, shape } = attributes
  const { down, side, up } = Outline.extents[shape]
  const rooms = [size[0] - 2 * MARGIN, size[1] - 2 * MARGIN] as const
  const [first, last] = radii(attributes, rooms, between)
  const radius = Math.max(first, last)
  const free = [rooms[0] - 2 * side * radius, rooms[1] - (up + down) * radius] as const
  const across = motion === "left" || motion === "right"
  const along = motion === "up" || motion === "down"
  const dx = across ? travel(free[0], least[motion][0], positions, between) : 0
  const dy = along ? travel(free[1], least[motion][1], positions, between) : 0
  const orbit = motion === "orbit" ? Math.min(between("orbit", 8, 12), free[0] / 2, free[1] / 2) : 0
  const turn = mix(0.3, Math.PI, positions)
  const left = MARGIN + side * radius + dx / 2 + orbit
  const top = MARGIN + up * radius + dy / 2 + orbit
  const right = left + free[0] - dx - 2 * orbit
  const bottom = top + free[1] - dy - 2 * orbit
  const x = placed("x", [left, right], across ? 4 : 8, positions, between)
  const y = placed("y", [top, bottom], 4, positions, between)
  const sign = motion === "left" || motion === "up" ? -1 : 1
  return {
    from: { x: x - (sign * dx) / 2, y: y - (sign * dy) / 2, radius: first },
    to: { x: x + (sign * dx) / 2, y: y + (sign * dy) / 2, radius: last },
    orbit: { radius: orbit, phase: -Math.PI / 2 + between("phase", -turn, turn) },
  }
}

const backdropOf = (rgb: Attributes.Rgb, between: Between): Backdrop => ({
  rgb: [
    rgb[0] + between("backRed", -5, 5),
    rgb[1] + between("backGreen", -5, 5),
    rgb[2] + between("backBlue", -5, 5),
  ],
  gradient: [between("gradientX", -10, 10), between("gradientY", -10, 10)],
  wave: {
    amplitude: between("waveAmplitude", 2, 6),
    kx: between("waveX", -0.25, 0.25),
    ky: between("waveY", -0.25, 0.25),
    phase: between("wavePhase", 0, 2 * Math.PI),
  },
  grain: {
    deviation: between("grain", 1, 2.5),
    seed: Math.floor(between("grainSeed", 0, 0x1_0000_0000)),
  },
})

/** The scene that a key draws for these attributes. */
export const make = (
  attributes: Attributes.Attributes,
  key: CounterRandom.Key,
  { height = 72, positions = "free", width = 128 }: Options = {},
): Scene => {
  const between = drawing(key)
  const freedom = positions === "free" ? 1 : positions === "near" ? 0 : positions
  const unit = pixelsPerUnit({ width, height })
  const [red, green, blue] = Attributes.colours[attributes.colour]
  return {
    attributes,
    width,
    height,
    track: trackOf(attributes, [width / unit, height / unit], freedom, between),
    rgb: [red + between("red", -8, 8), green + between("green", -8, 8), blue + between("blue", -8, 8)],
    shading: between("shading", 0.05, 0.16),
    backdrop: backdropOf(Attributes.backgrounds[attributes.background], between),
  }
}
