import { assert, describe, it } from "@effect/vitest"
import { Attributes, Captions, Corpus, Render } from "@reelgraph/world"

const places = new Set(Attributes.trained.map(Attributes.index))

/** Median of the mean differences of luma from one of 120 frames to the next, over some of them. */
const motionOf = ({ scene }: Corpus.Item): number => {
  const luma = (pixels: Uint8Array, i: number) =>
    (219 / 255) * (0.2126 * pixels[i]! + 0.7152 * pixels[i + 1]! + 0.0722 * pixels[i + 2]!)
  const changes = [0.1, 0.3, 0.5, 0.7, 0.9].map((u) => {
    const [a, b] = [u, u + 1 / 119].map((time) => Render.frame(scene, time, { scale: 3 })) as [
      Uint8Array,
      Uint8Array,
    ]
    let sum = 0
    for (let i = 0; i < a.length; i += 3) sum += Math.abs(luma(a, i) - luma(b, i))
    return sum / (a.length / 3)
  })
  return changes.toSorted((a, b) => a - b)[2]!
}

describe("Corpus", () => {
  it("has eight scenes of all colours that a filter of motion keeps, and one that it does not", () => {
    assert.deepStrictEqual(
      new Set(Corpus.moving.map(({ scene }) => scene.attributes.colour)),
      new Set(Attributes.Colour.literals),
    )
    assert.strictEqual(new Set(Corpus.moving.map(({ name }) => name)).size, Corpus.moving.length)
    for (const item of Corpus.moving) {
      assert.isTrue(places.has(Attributes.index(item.scene.attributes)), item.name)
      assert.isAbove(motionOf(item), 0.27, item.name)
    }
    assert.strictEqual(motionOf(Corpus.resting), 0)
  })

  it("has different captions, of words that a model was trained with", () => {
    const captions = [...Corpus.moving, Corpus.resting].flatMap((item) => item.captions)
    assert.strictEqual(new Set(captions).size, 4 * 9)
    for (const word of captions.flatMap(Captions.words)) assert.isTrue(Captions.vocabulary.has(word), word)
  })
})
