/** JSON from files of people: editors put a byte order mark in front of it, which is not JSON. */

const mark = "\uFEFF"

/** The text without a byte order mark. */
export const withoutMark = (text: string): string => (text.startsWith(mark) ? text.slice(1) : text)

/** The value of a file's bytes, in UTF-8 with or without a byte order mark. Throws what says why it is none. */
export const parse = (bytes: Uint8Array): unknown => {
  const [first, second] = bytes
  if ((first === 0xff && second === 0xfe) || (first === 0xfe && second === 0xff))
    throw new Error("it is UTF-16; save it as UTF-8")
  return JSON.parse(withoutMark(new TextDecoder("utf-8", { ignoreBOM: true }).decode(bytes)))
}
