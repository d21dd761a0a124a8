/**
 * Shapes: lists of dimensions. A dimension is a whole number, or a symbol (`"B"`) whose value is known when the
 * model runs, or a product of them (`"B*4"`) as it comes out of a reshape.
 */

export type Dim = number | string
export type Shape = ReadonlyArray<Dim>

/** `[2,3,B]` */
export const show = (shape: Shape): string => `[${shape.join(",")}]`

export const equal = (a: Shape, b: Shape): boolean =>
  a.length === b.length && a.every((dim, axis) => dim === b[axis])

export const isStatic = (shape: Shape): shape is ReadonlyArray<number> =>
  shape.every((dim) => typeof dim === "number")

/** The number of elements of a shape without symbols. */
export const size = (shape: ReadonlyArray<number>): number => shape.reduce((product, dim) => product * dim, 1)

interface Product {
  readonly factor: number
  /** In alphabetical order. */
  readonly symbols: ReadonlyArray<string>
}

const productOf = (shape: Shape): Product => {
  let factor = 1
  const symbols: Array<string> = []
  for (const dim of shape) {
    if (typeof dim === "number") factor *= dim
    else
      for (const part of dim.split("*")) {
        if (/^[0-9]+$/u.test(part)) factor *= Number(part)
        else symbols.push(part)
      }
  }
  return { factor, symbols: symbols.toSorted() }
}

/** The number of elements, as one dimension. */
export const total = (shape: Shape): Dim => {
  const { factor, symbols } = productOf(shape)
  if (symbols.length === 0) return factor
  return [...symbols, ...(factor === 1 ? [] : [String(factor)])].join("*")
}

/** What `whole` is when divided by `part`; undefined when that is not a whole number for every value of the symbols. */
export const quotient = (whole: Shape, part: Shape): Dim | undefined => {
  const a = productOf(whole)
  const b = productOf(part)
  const symbols = [...a.symbols]
  for (const symbol of b.symbols) {
    const at = symbols.indexOf(symbol)
    if (at < 0) return undefined
    symbols.splice(at, 1)
  }
  if (b.factor === 0) return a.factor === 0 ? 0 : undefined
  const factor = a.factor / b.factor
  return Number.isInteger(factor) ? total([...symbols, factor]) : undefined
}

/** The dimension two broadcast to (the rule of NumPy), or undefined when they do not. */
const broadcastDim = (a: Dim, b: Dim): Dim | undefined => (a === b || b === 1 ? a : a === 1 ? b : undefined)

/** The shape two shapes broadcast to, or the two dimensions that do not fit. */
export const broadcast = (a: Shape, b: Shape): Shape | { readonly left: Dim; readonly right: Dim } => {
  const rank = Math.max(a.length, b.length)
  const shape: Array<Dim> = []
  for (let axis = 0; axis < rank; axis++) {
    const left = a[a.length - rank + axis] ?? 1
    const right = b[b.length - rank + axis] ?? 1
    const dim = broadcastDim(left, right)
    if (dim === undefined) return { left, right }
    shape.push(dim)
  }
  return shape
}

/** The axes summed over to bring a broadcast `from` back to `to`. */
export const broadcastAxes = (from: Shape, to: Shape): ReadonlyArray<number> => {
  const added = from.length - to.length
  return from.flatMap((dim, axis) => (axis < added || (to[axis - added] === 1 && dim !== 1) ? [axis] : []))
}

/** Axes counted from the front, in ascending order; undefined when one is outside the rank or comes twice. */
export const axesOf = (axes: ReadonlyArray<number>, rank: number): ReadonlyArray<number> | undefined => {
  const found = axes.map((axis) => (axis < 0 ? axis + rank : axis)).toSorted((a, b) => a - b)
  return found.every((axis, i) => Number.isInteger(axis) && axis >= 0 && axis < rank && axis !== found[i - 1])
    ? found
    : undefined
}

/** Distance in elements between neighbours along each axis, last axis fastest. */
export const strides = (shape: ReadonlyArray<number>): ReadonlyArray<number> => {
  const result = Array.from(shape, () => 1)
  for (let axis = shape.length - 2; axis >= 0; axis--) result[axis] = result[axis + 1]! * shape[axis + 1]!
  return result
}
