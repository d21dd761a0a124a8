/**
 * Functions of text take a time that grows with its length: a name, a message or a prompt of a megabyte holds nobody
 * up. Sizes are compared with each other, by the processor's time of this thread: for eight times the text it may be forty
 * times as much, and not the 64 times of a square.
 */
import { assert, describe, it } from "@effect/vitest"
import { Secrets } from "@reelgraph/core"

import * as Format from "../src/Format.ts"
import * as ItemLabel from "../src/ItemLabel.ts"
import * as Outputs from "../src/Outputs.ts"
import * as Suggest from "../src/Suggest.ts"
import * as TerminalText from "../src/TerminalText.ts"
import { InputNotFound, NodeUnknown } from "../src/UsageError.ts"
import { TooManySkipped } from "../src/InputSource.ts"
import { memoryScreen } from "./reel.ts"

const functions: { readonly [name: string]: (text: string) => unknown } = {
  "Secrets.masked": Secrets.masked,
  "TerminalText.line": TerminalText.line,
  "TerminalText.block": TerminalText.block,
  "TerminalText.message": TerminalText.message,
  "Format.wrapped": (text) => Format.wrapped(text, 80, "  "),
  "Format.table": (text) => Format.table(["a"], [[text], [text]]),
  "Format.quoted": Format.quoted,
  "ItemLabel.nameIn": (text) => ItemLabel.nameIn({ name: text }),
  "Outputs.fileName": Outputs.fileName,
  "Suggest.sentence": (text) => Suggest.sentence(text, ["curate", text, `${text}x`]),
  "messages of errors": (text) => [
    new NodeUnknown({ graph: text, node: text, nodes: [text] }).message,
    new InputNotFound({ input: text, path: text, why: text }).message,
    new TooManySkipped({ skipped: 1, allowed: 1, last: text }).message,
  ],
  "TerminalOutput.tell": (text) => memoryScreen().screen.tell(text),
}

const patterns = [
  "a",
  " ",
  "\n",
  "\n ",
  " \n",
  "a ",
  "ab",
  "-",
  ".",
  ".a",
  "'",
  "a'",
  ":/",
  "://",
  "://@",
  "@",
  ":",
  "&",
  "&a",
  "&token",
  "?sig=",
  "=",
  "aws_",
  "authorization ",
  "authorization: ",
  "\u001B",
  "\u001B[",
  "\u202E",
  "\u2581",
  "\uFDFA",
]

const small = 1 << 14

/** Milliseconds of this thread's own time, which nobody else on the machine takes part in: the least of some. */
const milliseconds = (body: () => unknown): number => {
  const took: Array<number> = []
  for (let time = 0; time < 3; time++) {
    const begun = process.threadCpuUsage()
    body()
    const { system, user } = process.threadCpuUsage(begun)
    took.push((user + system) / 1000)
  }
  return Math.min(...took)
}

/** Below it nothing can be told: what grows with the square takes seconds for the longer text. */
const leastMs = 5

describe("the time that text takes grows with its length", () => {
  for (const [name, call] of Object.entries(functions))
    it(
      name,
      () => {
        for (const pattern of patterns) {
          // An end that makes what begins everywhere match nowhere.
          const of = (length: number) => `${pattern.repeat(Math.ceil(length / pattern.length))}\u00E9`
          const [little, much] = [of(small), of(8 * small)]
          call(little)
          const before = milliseconds(() => call(little))
          assert.isBelow(
            milliseconds(() => call(much)),
            40 * Math.max(before, leastMs),
            JSON.stringify(pattern),
          )
        }
      },
      180_000,
    )
})
