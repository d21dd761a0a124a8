/**
 * The outlines of the four shapes at radius 1, around the origin, y downwards.
 *
 * Areas are about equal (2.3 to 3.2), so that size does not tell the shapes apart. The square has sides of 1.78;
 * the triangle is equilateral with its tip up, the star has five tips and inner corners at 0.46 of their distance.
 *
 * The star is folded into one of its ten mirror images by two reflections (Quilez, "2D distance functions"),
 * where its outline is one straight line.
 */
import type { Shape } from "./Attributes.ts"

/** How far a shape reaches from the origin: to either side, upwards and downwards. */
export interface Extent {
  readonly side: number
  readonly up: number
  readonly down: number
}

const SQUARE = 0.89
const TRIANGLE = 1.32
const STAR = 1.36
const STAR_INNER = 0.46

const COS_30 = Math.cos(Math.PI / 6)
const COS_18 = Math.cos(Math.PI / 10)
const COS_36 = Math.cos(Math.PI / 5)
const SIN_36 = Math.sin(Math.PI / 5)

export const extents: Readonly<Record<Shape, Extent>> = {
  circle: { side: 1, up: 1, down: 1 },
  square: { side: SQUARE, up: SQUARE, down: SQUARE },
  triangle: { side: TRIANGLE * COS_30, up: TRIANGLE, down: TRIANGLE / 2 },
  star: { side: STAR * COS_18, up: STAR, down: STAR * COS_36 },
}

const circle = (x: number, y: number): number => Math.sqrt(x * x + y * y) - 1

const square = (x: number, y: number): number => Math.max(Math.abs(x), Math.abs(y)) - SQUARE

const triangle = (x: number, y: number): number => Math.max(Math.abs(x) * COS_30 - y / 2, y) - TRIANGLE / 2

/** The edge from the upper tip to the inner corner beside it, as a unit normal pointing outwards. */
const edge = (() => {
  const x = STAR_INNER * SIN_36
  const y = 1 - STAR_INNER * COS_36
  const length = Math.hypot(x, y)
  return { x: y / length, y: x / length }
})()

const star = (x: number, y: number): number => {
  let across = Math.abs(x)
  let up = -y
  const lower = across * COS_36 - up * SIN_36
  if (lower > 0) {
    across -= 2 * lower * COS_36
    up += 2 * lower * SIN_36
  }
  const upper = -across * COS_36 - up * SIN_36
  if (upper > 0) {
    across += 2 * upper * COS_36
    up += 2 * upper * SIN_36
  }
  return Math.abs(across) * edge.x + (up - STAR) * edge.y
}

/**
 * Distance of a point from the outline, negative inside. Exact beside edges; too small in front of corners, which
 * keeps them sharp. It never changes by more than the distance between two points.
 */
export const distances: Readonly<Record<Shape, (x: number, y: number) => number>> = {
  circle,
  square,
  triangle,
  star,
}
