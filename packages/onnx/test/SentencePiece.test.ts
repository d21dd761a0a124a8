import fs from "node:fs"

import { assert, describe, it } from "@effect/vitest"

import * as SentencePiece from "../src/SentencePiece.ts"
import { randomFrom } from "./check.ts"

/** See test/oracle/onnx/tokens.cjs. */
const oracle = JSON.parse(
  fs.readFileSync(new URL("../../../test/oracle/onnx/tokens.json", import.meta.url), "utf8"),
) as {
  readonly size: number
  readonly pieces: ReadonlyArray<readonly [id: number, piece: string, score: number | null]>
  readonly sentences: ReadonlyArray<{ readonly text: string; readonly ids: ReadonlyArray<number> }>
}

const vocabulary = Array.from({ length: oracle.size }, (): readonly [string, number | null] => ["", 0])
for (const [id, piece, score] of oracle.pieces) vocabulary[id] = [piece, score]

const english = SentencePiece.fromVocabulary(vocabulary)

describe("SentencePiece", () => {
  for (const { ids, text } of oracle.sentences)
    it(`as the package's own tokenizer: ${text}`, () => {
      assert.deepStrictEqual(english.encode(text), ids)
      assert.strictEqual(english.decode(ids), text.normalize("NFKC"))
    })

  it("no content, no ids; white space does not count", () => {
    assert.deepStrictEqual(english.encode(" \n\t"), [])
    assert.deepStrictEqual(english.encode("  A dog\n runs "), english.encode("A dog runs"))
  })

  it("a run of unknown symbols is one unknown piece, and code points are not cut", () => {
    assert.deepStrictEqual(
      english.encode("A 雨😀雨 dog").filter((id) => id === 0),
      [0],
    )
    assert.isBelow(english.encode("A 😀").length, 4)
  })

  it("finds the best of all segmentations", () => {
    const next = randomFrom(5)
    const letters = ["a", "b", "▁"]
    for (let round = 0; round < 60; round++) {
      const pieces = new Map<string, number>()
      for (const letter of letters) pieces.set(letter, -3 + next())
      for (let i = 0; i < 8; i++) {
        const length = 2 + Math.floor(next() + 1)
        const piece = Array.from({ length }, () => letters[Math.floor(((next() + 1) / 2) * 3)]).join("")
        pieces.set(piece, -4 + 2 * next())
      }
      const small = SentencePiece.fromVocabulary([["?", 0], ...pieces], { reserved: 1 })
      const text = Array.from({ length: 7 }, () => letters[Math.floor(((next() + 1) / 2) * 2)]).join("")
      const best = (rest: string): number =>
        rest === ""
          ? 0
          : Math.max(
              ...[...pieces].map(([piece, score]) =>
                rest.startsWith(piece) ? score + best(rest.slice(piece.length)) : -Infinity,
              ),
            )
      const names = ["?", ...pieces.keys()]
      const found = small.encode(text).map((id) => pieces.get(names[id]!)!)
      assert.closeTo(
        found.reduce((a, b) => a + b, 0),
        best(SentencePiece.normalize(text)),
        1e-9,
      )
    }
  })

  it("what is no vocabulary is refused", () => {
    assert.throws(() => SentencePiece.fromVocabulary({}), /it is no list/u)
    assert.throws(() => SentencePiece.fromVocabulary([["a", 1], ["b"]]), /entry 1 is not/u)
  })
})
