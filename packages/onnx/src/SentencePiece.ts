/**
 * SentencePiece unigram encoding (Kudo 2018, "Subword Regularization"): the segmentation of a text into pieces of
 * a vocabulary with the highest sum of log probabilities, by Viterbi over code points.
 *
 * Text is normalised as the default model does: NFKC, runs of white space to one space, none at the ends, spaces
 * to U+2581 with one in front. A code point that no piece begins with is the unknown piece, at ten below the
 * lowest score, and a run of them is one.
 */
import * as Schema from "effect/Schema"

/** A vocabulary that is not a list of pieces with scores. */
export class VocabularyInvalid extends Schema.TaggedError<VocabularyInvalid>()("VocabularyInvalid", {
  problem: Schema.String,
}) {
  override get message() {
    return `not a SentencePiece vocabulary: ${this.problem}`
  }
}

/** Code points of a piece, and pieces of a vocabulary, at most. Encoding looks so far ahead from each symbol. */
const longestPiece = 256
const mostPieces = 2_000_000

interface Branch {
  readonly next: Map<string, Branch>
  /** The piece that ends here. */
  id: number | undefined
  score: number
}

const branch = (): Branch => ({ next: new Map(), id: undefined, score: 0 })

export interface SentencePiece {
  readonly size: number
  /** The pieces' ids in the order of the text; none for a text without content. */
  readonly encode: (text: string) => ReadonlyArray<number>
  /** The text of ids: what was encoded, after normalisation, when nothing in it was unknown. */
  readonly decode: (ids: ReadonlyArray<number>) => string
}

export interface Options {
  /** Ids below this are control symbols, which no text turns into. @default 6 */
  readonly reserved?: number
  /** @default 0 */
  readonly unknown?: number
}

type Piece = readonly [piece: string, score: number | null]

const isPiece = (entry: unknown): entry is Piece =>
  Array.isArray(entry) && typeof entry[0] === "string" && (typeof entry[1] === "number" || entry[1] === null)

/** The text as the pieces spell it. */
export const normalize = (text: string): string => {
  const words = text.normalize("NFKC").replaceAll(/\s+/gu, " ").trim()
  return words === "" ? "" : `\u2581${words.replaceAll(" ", "\u2581")}`
}

/**
 * An encoder from `[piece, score]` in the order of ids: the JSON that Universal Sentence Encoder packages carry.
 * They have null for the scores of pieces with a colon, which counts as 0, as it does in their own tokenizer.
 * Throws `VocabularyInvalid`.
 */
export const fromVocabulary = (
  vocabulary: unknown,
  { reserved = 6, unknown = 0 }: Options = {},
): SentencePiece => {
  if (!Array.isArray(vocabulary)) throw new VocabularyInvalid({ problem: "it is no list" })
  const wrong = vocabulary.findIndex((entry) => !isPiece(entry))
  if (wrong >= 0) throw new VocabularyInvalid({ problem: `entry ${wrong} is not [piece, score]` })
  const pieces = vocabulary as ReadonlyArray<Piece>
  if (pieces.length > mostPieces)
    throw new VocabularyInvalid({ problem: `it has ${pieces.length} pieces, at most ${mostPieces} are read` })
  // Twice: a code point may take two code units.
  const long = pieces.findIndex(([piece]) => piece.length > 2 * longestPiece)
  if (long >= 0)
    throw new VocabularyInvalid({
      problem: `entry ${long} is a piece of ${pieces[long]![0].length} characters, at most ${2 * longestPiece} are read`,
    })

  const root = branch()
  let lowest = 0
  pieces.forEach(([piece, given], id) => {
    if (id < reserved || piece === "") return
    const score = given ?? 0
    lowest = Math.min(lowest, score)
    let at = root
    for (const symbol of piece) {
      const next = at.next.get(symbol) ?? branch()
      at.next.set(symbol, next)
      at = next
    }
    at.id = id
    at.score = score
  })
  const penalty = lowest - 10

  const encode = (text: string): ReadonlyArray<number> => {
    const symbols = Array.from(normalize(text))
    /** By end position: the best score up to it, and the last piece on the way. */
    const best = new Float64Array(symbols.length + 1).fill(-Infinity)
    const last: Array<readonly [start: number, id: number]> = []
    const offer = (start: number, end: number, id: number, score: number) => {
      const total = best[start]! + score
      if (total <= best[end]!) return
      best[end] = total
      last[end] = [start, id]
    }
    best[0] = 0
    for (let start = 0; start < symbols.length; start++) {
      let at = root.next.get(symbols[start]!)
      let alone = false
      for (let end = start + 1; at !== undefined; end++) {
        if (at.id !== undefined) {
          offer(start, end, at.id, at.score)
          alone ||= end === start + 1
        }
        at = at.next.get(symbols[end]!)
      }
      if (!alone) offer(start, start + 1, unknown, penalty)
    }
    const ids: Array<number> = []
    for (let end = symbols.length; end > 0;) {
      const [start, id] = last[end]!
      if (id !== unknown || ids.at(-1) !== unknown) ids.push(id)
      end = start
    }
    return ids.toReversed()
  }

  const decode = (ids: ReadonlyArray<number>): string =>
    ids
      .map((id) => pieces[id]?.[0] ?? pieces[unknown]![0])
      .join("")
      .replaceAll("\u2581", " ")
      .trimStart()

  return { size: pieces.length, encode, decode }
}
