/** A prompt of a megabyte takes little time. */
import { assert, describe, it } from "@effect/vitest"
import * as SentencePiece from "@reelgraph/onnx/SentencePiece"

import * as LinearTime from "../../core/test/linearTime.ts"
import * as Prompt from "../src/Prompt.ts"

const pieces = SentencePiece.fromVocabulary(
  ["<unk>", "a", "aa", "a".repeat(64), "b", "\u2581", "\u2581".repeat(100)].map((piece) => [
    piece,
    -piece.length,
  ]),
  { reserved: 1 },
)

const functions: { readonly [name: string]: (text: string) => unknown } = {
  "Prompt.normalize": Prompt.normalize,
  "Prompt.words": Prompt.words,
  "SentencePiece.encode": (text) => pieces.encode(text),
}

const patterns = ["a", " ", "\n", "a ", "ab", "'", "a'", "-", "\u2581", "\uFDFA", "\u0301", "\u{1F415}"]

describe("the time that text takes grows with its length", () => {
  LinearTime.tests(functions, patterns)

  it("a vocabulary with a piece of a megabyte is refused", () => {
    assert.throws(
      () => SentencePiece.fromVocabulary([["a".repeat(1e6), -1]]),
      /entry 0 is a piece of 1000000 characters, at most 512 are read/,
    )
  })
})
