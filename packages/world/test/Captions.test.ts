import { assert, describe, it } from "@effect/vitest"
import { Attributes, Captions, Lexicon } from "@reelgraph/world"
import { key } from "./fixtures.ts"

const sources = ["trained", "held-out"] as const

const concepts: ReadonlyArray<Lexicon.Phrases> = [
  ...Object.values(Lexicon.colours),
  ...Object.values(Lexicon.shapes),
  ...Object.values(Lexicon.backgrounds),
  Lexicon.grounds,
  ...Object.values(Lexicon.motions).flatMap(({ heldOut, trained }) =>
    [0, 1].map((form) => ({
      trained: trained.map((verb) => verb[form]!),
      heldOut: heldOut.map((verb) => verb[form]!),
    })),
  ),
]

/** Captions of every combination, from these sources. */
const captions = (options: Captions.Options, name = "caption"): ReadonlyArray<string> =>
  Attributes.all.map((attributes, i) => Captions.caption(attributes, key(`${name} ${i}`), options))

describe("Captions", () => {
  it("every concept has at least 10 trained and 2 held-out phrases, each once", () => {
    for (const { heldOut, trained } of concepts) {
      assert.isAtLeast(trained.length, 10)
      assert.isAtLeast(heldOut.length, 2)
      assert.strictEqual(new Set([...trained, ...heldOut]).size, trained.length + heldOut.length)
    }
    assert.isAtLeast(Captions.templates.trained.length, 14)
    assert.isAtLeast(Captions.templates.heldOut.length, 4)
  })

  it("a phrase is of one concept only", () => {
    for (const kind of [Lexicon.colours, Lexicon.shapes, Lexicon.backgrounds] as const) {
      const phrases = Object.values<Lexicon.Phrases>(kind).flatMap(({ heldOut, trained }) => [
        ...trained,
        ...heldOut,
      ])
      assert.strictEqual(new Set(phrases).size, phrases.length)
    }
  })

  it("each held-out phrase has a word that training never has", () => {
    for (const { heldOut } of concepts)
      for (const phrase of heldOut)
        assert.isTrue(
          Captions.words(phrase).some((word) => !Captions.vocabulary.has(word)),
          phrase,
        )
  })

  it("training uses no held-out template, and no word out of the vocabulary", () => {
    const used = new Set(
      ["0", "1", "2", "3", "4", "5"].flatMap((name) => captions({}, name)).flatMap(Captions.words),
    )
    assert.deepStrictEqual(
      [...used].filter((word) => !Captions.vocabulary.has(word)),
      [],
    )
    assert.deepStrictEqual(
      [...Captions.vocabulary].filter((word) => !used.has(word)),
      [],
    )
    for (const template of Captions.templates.heldOut)
      assert.isFalse(Captions.templates.trained.includes(template))
  })

  it("captions are short, whole, and have the right article", () => {
    for (const templates of sources)
      for (const words of sources)
        for (const caption of captions({ templates, words })) {
          assert.isAtMost(caption.split(" ").length, 28, caption)
          assert.notMatch(caption, /[{}]|undefined| {2}|\ban [^aeiou]|\ba [aeiou]/)
        }
  })

  it("captions read like this", () => {
    const first = (options: Captions.Options): ReadonlyArray<string> =>
      Captions.prompts(4, options, 1).map(({ text }) => text)
    assert.deepStrictEqual(first({}), [
      "there is a ruby circle drifting leftwards in front of a plain black backdrop",
      "as a blue-green orb grows bigger, the snow-white backdrop does not move",
      "a video of a tangerine tile dropping towards the bottom on an all-black backdrop",
      "a purple disc heading right on a solid black sheet",
    ])
    assert.deepStrictEqual(first({ templates: "held-out" }), [
      "against a plain black backdrop, a single ruby circle is drifting leftwards",
      "footage of an orb in blue-green, growing bigger, set against a snow-white backdrop",
      "a short film showing a tangerine tile that drops towards the bottom before an all-black backdrop",
      "a short film showing a purple disc that heads right before a solid black sheet",
    ])
    assert.deepStrictEqual(first({ words: "held-out" }), [
      "there is a scarlet sphere gliding leftward in front of an onyx field",
      "as a greenish-blue sphere inflates, the snowy field does not move",
      "a video of a pumpkin cube descending on an onyx field",
      "a plum sphere gliding rightward on an ebony ground",
    ])
  })

  it("prompts go through the held-out combinations in order", () => {
    const prompts = Captions.prompts(120, { templates: "held-out" }, 3)
    assert.deepStrictEqual(
      prompts.map(({ attributes }) => attributes),
      [...Attributes.heldOut, ...Attributes.heldOut.slice(0, 8)],
    )
    assert.notStrictEqual(prompts[0]!.text, Captions.prompts(1, { templates: "held-out" }, 4)[0]!.text)
  })
})
