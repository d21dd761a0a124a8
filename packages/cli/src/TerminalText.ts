/**
 * Text from outside on its way to a terminal, a log or a JSON document: file names, messages, names in models,
 * what operators and workers write. Whatever a terminal may take for a command, or a reader may not see, is written
 * out, and secrets in URLs are masked.
 *
 * Written out are the control characters (C0, DEL and C1: every escape sequence begins with one), the format
 * characters (which turn the direction of text, or have no width), the separators of lines and paragraphs, and halves
 * of surrogate pairs. The time grows with the length of the text.
 */
import { Secrets } from "@reelgraph/core"

/** All of them but line feed and tab. */
const unsafe = /(?![\n\t])[\p{Cc}\p{Cf}\p{Cs}\p{Zl}\p{Zp}]/gu

/** `\u001b`: as JSON writes it, so that a JSON document stays the same document. */
const escaped = (character: string): string =>
  Array.from({ length: character.length }, (_, i) => character.charCodeAt(i))
    .map((unit) => `\\u${unit.toString(16).padStart(4, "0")}`)
    .join("")

/**
 * Text of several lines, or a JSON document: each character is written as JSON would escape it. Line feeds and tabs
 * stay.
 */
export const block = (text: string): string => Secrets.masked(text).replaceAll(unsafe, escaped)

/** Where a line ends, for whatever shows text. */
const ends = /[\n\r\v\f\u0085\u2028\u2029]/

/** One line: what is on several is joined by spaces, and each unsafe character is a question mark. */
export const line = (text: string): string => {
  const parts = Secrets.masked(text).split(ends)
  const last = parts.length - 1
  const joined =
    last === 0
      ? parts[0]!
      : parts
          .map((part, i) => (i === 0 ? part.trimEnd() : i === last ? part.trimStart() : part.trim()))
          .filter((part) => part !== "")
          .join(" ")
  return joined.replaceAll("\t", " ").replaceAll(unsafe, "?")
}

/** A message of several lines: those after the first are indented, so that none looks like a message of its own. */
export const message = (text: string): string => block(text).replaceAll("\n", "\n      ")
