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

/**
 * The canonical text of a value.
 *
 * @throws RangeError for `NaN` and infinities, which JSON cannot carry.
 */
export const stringify = (value: Json): string => {
  if (value === null || typeof value === "boolean" || typeof value === "string") return JSON.stringify(value)
  if (typeof value === "number") {
    if (!Number.isFinite(value))
      throw new RangeError(`${value} has no canonical JSON form; use a finite number`)
    return JSON.stringify(value)
  }
  if (Array.isArray(value)) return `[${value.map(stringify).join(",")}]`
  const record = value as { readonly [key: string]: Json | undefined }
  let text = "{"
  for (const key of Object.keys(record).sort()) {
    const member = record[key]
    if (member === undefined) continue
    text += `${text.length === 1 ? "" : ","}${JSON.stringify(key)}:${stringify(member)}`
  }
  return text + "}"
}
