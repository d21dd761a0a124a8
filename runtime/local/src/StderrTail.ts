/** The lines of a standard error, or of a log, that explain why a process ended. */

/** Frames of stacks, the fields of an error that Node prints after them, and its version. */
const noise = /^\s+at |^\s*[\w$]+: .*,?$|^\s*[\]}{[]+,?$|^- |^Require stack:|^Node\.js v|^\s*\^+$/u

const telling = /error|denied|refused|cannot|could not|no such|not found|failed/iu

/** Up to three lines, preferably those with an error, joined by bars; empty when there are none. */
export const of = (text: string): string => {
  const lines = text.split("\n").filter((line) => line.trim() !== "")
  const plain = lines.filter((line) => !noise.test(line) || /^\s*\w*Error: /u.test(line))
  const errors = plain.filter((line) => telling.test(line))
  return (errors.length > 0 ? errors : plain.length > 0 ? plain : lines)
    .slice(-3)
    .map((line) => line.trim())
    .join(" | ")
}
