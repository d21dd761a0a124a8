/**
 * Symbolic shapes, solved. A dimension is `symbol * numerator / denominator`, or a whole number; unifying a
 * shape that is taken with one that is given binds the symbols of the taken one.
 */
import type { Dim, Tensor } from "./Tensor.ts"

/** A dimension's value: a whole number, or a scaled symbol of somebody further up. */
export type Value =
  | number
  | { readonly symbol: string; readonly numerator: number; readonly denominator: number }

export type Bindings = Map<string, Value>

const gcd = (a: number, b: number): number => (b === 0 ? a : gcd(b, a % b))

const scaled = (value: Value, numerator: number, denominator: number): Value | undefined => {
  if (typeof value === "number") {
    const result = (value * numerator) / denominator
    return Number.isInteger(result) && result > 0 ? result : undefined
  }
  const n = value.numerator * numerator
  const d = value.denominator * denominator
  const g = gcd(n, d)
  return { symbol: value.symbol, numerator: n / g, denominator: d / g }
}

const parse = (
  dim: string,
): { readonly symbol: string; readonly numerator: number; readonly denominator: number } => {
  const [symbol = dim, ...rest] = dim.split(/(?=[*/])/)
  let numerator = 1
  let denominator = 1
  for (const factor of rest) {
    if (factor.startsWith("*")) numerator *= Number(factor.slice(1))
    else denominator *= Number(factor.slice(1))
  }
  const g = gcd(numerator, denominator)
  return { symbol, numerator: numerator / g, denominator: denominator / g }
}

const equal = (a: Value, b: Value): boolean =>
  typeof a === "number" || typeof b === "number"
    ? a === b
    : a.symbol === b.symbol && a.numerator === b.numerator && a.denominator === b.denominator

export const show = (value: Value): string =>
  typeof value === "number"
    ? String(value)
    : value.symbol +
      (value.numerator === 1 ? "" : `*${value.numerator}`) +
      (value.denominator === 1 ? "" : `/${value.denominator}`)

/** The value of a dimension. Symbols without a binding are made free under `scope`: `videos.H`. */
export const valueOf = (dim: Dim, bindings: Bindings, scope: string): Value | undefined => {
  if (typeof dim === "number") return dim
  const { denominator, numerator, symbol } = parse(dim)
  let bound = bindings.get(symbol)
  if (bound === undefined) {
    bound = { symbol: `${scope}.${symbol}`, numerator: 1, denominator: 1 }
    bindings.set(symbol, bound)
  }
  return scaled(bound, numerator, denominator)
}

/** Unifies a dimension that is taken with a value that is given. The result is a problem as text, or nothing. */
export const unify = (taken: Dim, given: Value, bindings: Bindings): string | undefined => {
  if (typeof taken === "number") {
    if (taken === given) return undefined
    return typeof given === "number"
      ? `takes ${taken}, is given ${given}`
      : `takes ${taken}, is given ${show(given)}, which need not be ${taken}`
  }
  const { denominator, numerator, symbol } = parse(taken)
  const value = scaled(given, denominator, numerator)
  if (value === undefined)
    return `takes ${taken}, is given ${show(given)}: ${symbol} would not be a whole number`
  const bound = bindings.get(symbol)
  if (bound === undefined) {
    bindings.set(symbol, value)
    return undefined
  }
  return equal(bound, value)
    ? undefined
    : `takes ${taken} with ${symbol} = ${show(bound)} from another dimension, is given ${show(given)}`
}

/** The shape of a tensor under bindings; a string names the dimension that does not come out whole. */
export const shapeOf = (tensor: Tensor, bindings: Bindings, scope: string): ReadonlyArray<Value> | string => {
  const shape: Array<Value> = []
  for (const dim of tensor.shape) {
    const value = valueOf(dim, bindings, scope)
    if (value === undefined) return `${dim} is not a whole number here`
    shape.push(value)
  }
  return shape
}
