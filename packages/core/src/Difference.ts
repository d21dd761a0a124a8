/** The difference of two JSON values, one line for each path that changed: for people to read. */
import * as Canonical from "./Canonical.ts"

/**
 * `nodes.standardize.params.crf: 20 -> 18`. Empty exactly when the values are equal.
 *
 * @throws RangeError for what {@link Canonical.stringify} refuses
 */
export const lines = (before: Canonical.Json, after: Canonical.Json): ReadonlyArray<string> => {
  const out: Array<string> = []
  compare("", before, after, 0, out)
  return out
}

type Maybe = Canonical.Json | undefined

const compare = (path: string, before: Maybe, after: Maybe, depth: number, out: Array<string>): void => {
  if (depth > Canonical.maxDepth)
    throw new RangeError(`a JSON value is nested deeper than ${Canonical.maxDepth} levels`)
  const say = (text: string) => void out.push(`${path === "" ? "value" : path}: ${text}`)
  if (before === undefined) {
    if (after !== undefined) say(`added ${brief(Canonical.stringify(after))}`)
  } else if (after === undefined) say(`removed ${brief(Canonical.stringify(before))}`)
  else if (isArray(before) && isArray(after)) {
    for (let i = 0; i < Math.max(before.length, after.length); i++)
      compare(`${path}[${i}]`, before[i], after[i], depth + 1, out)
  } else if (isObject(before) && isObject(after)) {
    for (const key of [...new Set([...Object.keys(before), ...Object.keys(after)])].sort())
      compare(join(path, key), member(before, key), member(after, key), depth + 1, out)
  } else {
    const [was, is] = [Canonical.stringify(before), Canonical.stringify(after)]
    if (was !== is) say(change(was, is))
  }
}

type Members = { readonly [key: string]: Maybe }

const isArray = (value: Canonical.Json): value is ReadonlyArray<Canonical.Json> => Array.isArray(value)

const isObject = (value: Canonical.Json): value is Members =>
  typeof value === "object" && value !== null && !Array.isArray(value)

/** Own members only: every object inherits a `constructor`. */
const member = (object: Members, key: string): Maybe => (Object.hasOwn(object, key) ? object[key] : undefined)

const join = (path: string, key: string): string =>
  /^[\w-]+$/.test(key) ? (path === "" ? key : `${path}.${key}`) : `${path}[${JSON.stringify(key)}]`

const width = 72

const brief = (text: string): string => (text.length <= width ? text : `${text.slice(0, width - 3)}...`)

/** Two texts, from where they first differ when they are long. */
const change = (was: string, is: string): string => {
  if (was.length <= width && is.length <= width) return `${was} -> ${is}`
  let same = 0
  while (was[same] === is[same] && same < was.length) same++
  const from = Math.max(0, same - 16)
  const excerpt = (text: string) => (from === 0 ? "" : "...") + brief(text.slice(from))
  return `${excerpt(was)} -> ${excerpt(is)}`
}
