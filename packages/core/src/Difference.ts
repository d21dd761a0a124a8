/** The difference of two JSON values, one line for each path that changed: for people to read. */
import * as Canonical from "./Canonical.ts"

/** `nodes.standardize.params.crf: 20 -> 18`. Empty when the values are equal. */
export const lines = (before: Canonical.Json, after: Canonical.Json): ReadonlyArray<string> => {
  const out: Array<string> = []
  compare("", before, after, out)
  return out
}

const compare = (
  path: string,
  before: Canonical.Json | undefined,
  after: Canonical.Json | undefined,
  out: Array<string>,
): void => {
  if (isObject(before) && isObject(after)) {
    for (const key of [...new Set([...Object.keys(before), ...Object.keys(after)])].sort()) {
      compare(path === "" ? key : `${path}.${key}`, before[key], after[key], out)
    }
  } else if (before === undefined && after !== undefined) out.push(`${path}: added ${brief(after)}`)
  else if (after === undefined && before !== undefined) out.push(`${path}: removed ${brief(before)}`)
  else if (
    before !== undefined &&
    after !== undefined &&
    Canonical.stringify(before) !== Canonical.stringify(after)
  ) {
    out.push(`${path}: ${brief(before)} -> ${brief(after)}`)
  }
}

const isObject = (
  value: Canonical.Json | undefined,
): value is { readonly [key: string]: Canonical.Json | undefined } =>
  typeof value === "object" && value !== null && !Array.isArray(value)

const brief = (value: Canonical.Json): string => {
  const text = Canonical.stringify(value)
  return text.length <= 72 ? text : `${text.slice(0, 69)}...`
}
