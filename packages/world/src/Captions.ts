/**
 * Sentences that say what a clip shows: "a crimson ball drifts leftwards over a pitch-black canvas".
 *
 * A caption is a template with a phrase of the `Lexicon` in each gap. Captions are lower case, without a full stop,
 * and have at most 28 words. Held out are whole templates, words, and the combinations of `Attributes.heldOut`; a
 * prompt may use any of the three.
 */
import * as CounterRandom from "@reelgraph/core/CounterRandom"
import * as Attributes from "./Attributes.ts"
import * as Lexicon from "./Lexicon.ts"

/** Whether a caption is made of what training shows, or of what it never shows. */
export type Source = "trained" | "held-out"

export interface Options {
  /** @default "trained" */
  readonly templates?: Source
  /** @default "trained" */
  readonly words?: Source
}

/** A caption for a combination to be drawn. */
export interface Prompt {
  readonly attributes: Attributes.Attributes
  readonly text: string
}

/** Gaps: {colour}, {shape}, {moving} and {moves}, {background} and {ground}. */
export const templates: Lexicon.Phrases = {
  trained: [
    "a {colour} {shape} {moving} on a {background} {ground}",
    "a {colour} {shape} {moves} over a {background} {ground}",
    "{colour} {shape} {moving}, {background} {ground}",
    "on a {background} {ground}, a {colour} {shape} {moves}",
    "a video of a {colour} {shape} {moving} on a {background} {ground}",
    "the {shape} is {colour} and it is {moving}; the {ground} is {background}",
    "{background} {ground} with a {colour} {shape} {moving}",
    "there is a {colour} {shape} {moving} in front of a {background} {ground}",
    "one {colour} {shape} {moves} against a {background} {ground}",
    "we see a {colour} {shape}, {moving}, against a {background} {ground}",
    "a {colour} {shape} that {moves}, with a {background} {ground} behind it",
    "the clip shows a {colour} {shape} {moving} in front of a {background} {ground}",
    "a {background} {ground}; a {colour} {shape} {moves}",
    "a {colour} {shape} {moves}; the {ground} is {background}",
    "{colour} {shape} on a {background} {ground}, {moving}",
    "a {colour} {shape} is {moving} on a {background} {ground}",
    "the {colour} {shape} {moves} in front of the {background} {ground}",
    "a {background} {ground} and a {colour} {shape} which {moves}",
    "a {background} scene with a {colour} {shape} {moving}",
    // What stands still in these is the ground: a model that takes the word for the shape's motion is wrong.
    "a {colour} {shape} {moves} and the {background} {ground} stays behind it",
    "the {background} {ground} stays as it is and a {colour} {shape} {moves}",
    "as a {colour} {shape} {moves}, the {background} {ground} does not move",
    "the {ground} is {background} and rests; the {colour} {shape} {moves}",
    "a {colour} {shape}, {moving}, in front of a {background} {ground} that keeps still",
    "watch a {colour} {shape}: it is {moving}, and only the {background} {ground} stands still",
    "the {ground} keeps its {background} tone as the {colour} {shape} {moves}",
  ],
  heldOut: [
    "a short film showing a {colour} {shape} that {moves} before a {background} {ground}",
    "against a {background} {ground}, a single {colour} {shape} is {moving}",
    "the camera watches as a {colour} {shape} {moves} upon a {background} {ground}",
    "look at this {colour} {shape}: it {moves} while the {ground} stays {background}",
    "footage of a {shape} in {colour}, {moving}, set against a {background} {ground}",
  ],
}

const chosen = <A>(phrases: Lexicon.Phrases<A>, source: Source, number: number): A => {
  const list = source === "trained" ? phrases.trained : phrases.heldOut
  return list[Math.floor(number * list.length)]!
}

/** The caption that a key draws for these attributes. */
export const caption = (
  attributes: Attributes.Attributes,
  key: CounterRandom.Key,
  { templates: sentences = "trained", words = "trained" }: Options = {},
): string => {
  const numbers = CounterRandom.uniforms(key, 6)
  const [moving, moves] = chosen(Lexicon.motions[attributes.motion], words, numbers[3]!)
  const gaps: Readonly<Record<string, string>> = {
    colour: chosen(Lexicon.colours[attributes.colour], words, numbers[1]!),
    shape: chosen(Lexicon.shapes[attributes.shape], words, numbers[2]!),
    moving,
    moves,
    background: chosen(Lexicon.backgrounds[attributes.background], words, numbers[4]!),
    ground: chosen(Lexicon.grounds, words, numbers[5]!),
  }
  return chosen(templates, sentences, numbers[0]!)
    .replaceAll(/\{(\w+)\}/g, (_, gap: string) => gaps[gap]!)
    .replaceAll(/\ba (?=[aeiou])/g, "an ")
}

/** The words of a caption, in order. */
export const words = (caption: string): ReadonlyArray<string> =>
  caption.toLowerCase().match(/[\p{L}\p{N}'-]+/gu) ?? []

/** Every word that a training caption may have: what a model can be expected to know. */
export const vocabulary: ReadonlySet<string> = new Set(
  [
    "an",
    ...templates.trained.map((template) => template.replaceAll(/\{\w+\}/g, " ")),
    ...[Lexicon.colours, Lexicon.shapes, Lexicon.backgrounds].flatMap((concepts) =>
      Object.values<Lexicon.Phrases>(concepts).flatMap(({ trained }) => trained),
    ),
    ...Object.values(Lexicon.motions).flatMap(({ trained }) => trained.flat()),
    ...Lexicon.grounds.trained,
  ].flatMap(words),
)

/** `count` prompts for the combinations that are never trained on, in their order, over and over. */
export const prompts = (count: number, options: Options, seed: number): ReadonlyArray<Prompt> =>
  Array.from({ length: count }, (_, i) => {
    const attributes = Attributes.heldOut[i % Attributes.heldOut.length]!
    const key = CounterRandom.key(seed, `prompt ${i}`, "world/captions")
    return { attributes, text: caption(attributes, key, options) }
  })
