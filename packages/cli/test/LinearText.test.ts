/** What a terminal shows of a name or a message of a megabyte takes little time. */
import { describe } from "@effect/vitest"
import { Secrets } from "@reelgraph/core"

import * as Format from "../src/Format.ts"
import * as ItemLabel from "../src/ItemLabel.ts"
import * as Outputs from "../src/Outputs.ts"
import * as Suggest from "../src/Suggest.ts"
import * as TerminalText from "../src/TerminalText.ts"
import { InputNotFound, NodeUnknown } from "../src/UsageError.ts"
import { TooManySkipped } from "../src/InputSource.ts"
import * as LinearTime from "../../core/test/linearTime.ts"
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

describe("the time that text takes grows with its length", () => {
  LinearTime.tests(functions, patterns)
})
