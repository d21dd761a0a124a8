/**
 * Canonical JSON: one text for one value, so that equal values have equal digests.
 *
 * Keys are sorted by UTF-16 code units, there is no white space, numbers and strings are written as
 * ECMAScript writes them, and members whose value is `undefined` are left out: RFC 8785 (JCS).
 */

/** A JSON value. `undefined` members of objects are accepted and left out. */
export type Json =
  | null
  | boolean
  | number
  | string
  | ReadonlyArray<Json>
  | { readonly [key: string]: Json | undefined }

/** Arrays and objects may be nested this deep: hostile JSON is refused before it overflows the stack. */
export const maxDepth = 500

/**
 * The canonical text of a value.
 *
 * @throws RangeError for `NaN` and infinities, which JSON cannot carry, and for values nested deeper than
 * {@link maxDepth}; TypeError for what is not JSON at all (a `Date`, a `Map`, a typed array, a `bigint`), which
 * would otherwise all read `{}` and share one digest.
 */
export const stringify = (value: Json): string => write(value, 0)

const noForm = (what: string): TypeError =>
  new TypeError(`a value of type ${what} has no canonical JSON form; encode it with its schema first`)

/** Keys that are written as they are. */
const word = /^[\w-]*$/

/** In hot loops: a record is written for each call. */
const write = (value: Json, depth: number): string => {
  switch (typeof value) {
    case "string":
      return JSON.stringify(value)
    case "number":
      if (!Number.isFinite(value))
        throw new RangeError(`${value} has no canonical JSON form; use a finite number`)
      // What JSON.stringify gives for it; of -0 as well.
      return `${value}`
    case "boolean":
      return value ? "true" : "false"
    case "object":
      return value === null ? "null" : writeObject(value, depth)
    default:
      throw noForm(typeof value)
  }
}

const writeObject = (
  value: ReadonlyArray<Json> | { readonly [key: string]: Json | undefined },
  depth: number,
): string => {
  if (depth === maxDepth) throw new RangeError(`a JSON value is nested deeper than ${maxDepth} levels`)
  if (Array.isArray(value)) return `[${value.map((item: Json) => write(item, depth + 1)).join(",")}]`
  if (Symbol.iterator in value || typeof (value as { toJSON?: unknown }).toJSON === "function")
    throw noForm(value.constructor.name)
  let text = "{"
  for (const key of Object.keys(value).sort()) {
    const member = value[key]
    if (member === undefined) continue
    if (text.length > 1) text += ","
    text += word.test(key) ? `"${key}":` : `${JSON.stringify(key)}:`
    text += write(member, depth + 1)
  }
  return text + "}"
}
