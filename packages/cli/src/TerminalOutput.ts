/**
 * Where the command prints, and the one place where text becomes text of a terminal: whatever is written here goes
 * through `TerminalText`, wherever it came from. Results are on stdout, everything else on stderr. On a terminal some
 * lines of stderr can be kept at the bottom and drawn anew; whatever else is told appears above them.
 */
import * as Context from "effect/Context"

import * as Format from "./Format.ts"
import * as TerminalText from "./TerminalText.ts"

export interface Stream {
  readonly isTTY?: boolean
  readonly columns?: number
  readonly rows?: number
  readonly write: (text: string) => unknown
}

export class TerminalOutput extends Context.Service<
  TerminalOutput,
  {
    /** Whether progress is read by a person at a terminal. */
    readonly isTerminal: boolean
    readonly columns: () => number
    readonly rows: () => number
    /** Results: text on stdout. */
    readonly print: (text: string) => void
    /** Results for people: lines on stdout, cut where a terminal ends. */
    readonly show: (lines: ReadonlyArray<string>) => void
    /** All else: a message on stderr, whose further lines are indented. */
    readonly tell: (text: string) => void
    /** Text of others, such as what an operator logs, to stderr: line by line, without its colours. */
    readonly pass: (text: string) => void
    /** The lines at the bottom of the terminal; none to take them away and show the cursor again. */
    readonly pin: (lines: ReadonlyArray<string>) => void
  }
>()("reelgraph/cli/TerminalOutput") {}

const escape = "\u001B["
const hideCursor = `${escape}?25l`
/** What brings a terminal back to its usual state. */
export const showCursor = `${escape}?25h`
const eraseLine = `${escape}2K`

const up = (lines: number): string => (lines === 0 ? "" : `\r${escape}${lines}A`)

/** A screen over two streams. */
export const make = (stdout: Stream, stderr: Stream): typeof TerminalOutput.Service => {
  let pinned: ReadonlyArray<string> = []
  // Line by line, and never by erasing all below: what a terminal erases as a whole may end in its scrollback.
  const erase = () => `${up(pinned.length)}${`${eraseLine}\n`.repeat(pinned.length)}${up(pinned.length)}`
  const draw = (lines: ReadonlyArray<string>) => lines.map((line) => `${eraseLine}${line}\n`).join("")
  const write = (text: string) =>
    void stderr.write(pinned.length === 0 ? text : `${erase()}${text}${draw(pinned)}`)
  const print = (text: string) => {
    // Both streams may be the same terminal.
    if (pinned.length > 0) stderr.write(erase())
    stdout.write(`${TerminalText.block(text)}\n`)
    if (pinned.length > 0) stderr.write(draw(pinned))
  }
  return TerminalOutput.of({
    isTerminal: stderr.isTTY === true,
    columns: () => stderr.columns ?? 80,
    rows: () => stderr.rows ?? 24,
    print,
    show: (lines) => {
      const columns = stdout.isTTY === true ? (stdout.columns ?? 80) : Number.POSITIVE_INFINITY
      print(lines.map((line) => Format.cut(TerminalText.line(line), columns)).join("\n"))
    },
    tell: (text) => write(`${TerminalText.message(text)}\n`),
    pass: (text) => write(`${TerminalText.block(text.replace(/\n$/, ""))}\n`),
    pin: (given) => {
      const lines = given.map(TerminalText.line)
      const begins = pinned.length === 0 && lines.length > 0 ? hideCursor : ""
      const ends = pinned.length > 0 && lines.length === 0 ? showCursor : ""
      const fewer = Math.max(0, pinned.length - lines.length)
      const rest = `${`${eraseLine}\n`.repeat(fewer)}${up(fewer)}`
      stderr.write(`${begins}${up(pinned.length)}${draw(lines)}${rest}${ends}`)
      pinned = lines
    },
  })
}
