/** Unions as types, one member at a time: a template over a union would be a union of whole messages. */

/** One member of a union: the parameter of the last overload, when the union is spread over overloads. */
export type Member<U> = (U extends unknown ? (f: (u: U) => void) => void : never) extends (
  f: infer F extends (u: never) => void,
) => void
  ? F extends (u: infer One) => void
    ? One
    : never
  : never

/** A union of strings in one string: `"text, weights"`. */
export type Join<U extends string> = [U] extends [never]
  ? ""
  : Member<U> extends infer One extends string
    ? [Exclude<U, One>] extends [never]
      ? One
      : `${Join<Exclude<U, One>>}, ${One}`
    : never
