/**
 * Prompts, checked before any long work begins: cleaned, short enough, English, and of words that the model knows.
 *
 * ```ts
 * const tokenizer = yield* TextModel.tokenizer()
 * const prompt = yield* Prompt.check("a red ball rises", { tokenizer, maxTokens: 32, vocabulary })
 * prompt.tokens // the ids that the text encoder takes
 * prompt.unknown // [] or the words that will not have the effect somebody hopes for
 * ```
 *
 * Captions are short and have few function words, which is where language detectors err: eld calls "teal disc orbits"
 * Catalan. So another language is only said when the script is not Latin, when most words cannot be spelled by the
 * tokenizer, or when eld is sure by the measures of `confident`: chosen so that 42,052 English captions, 52 of them
 * by hand and the others of templates, raised no alarm, while 41 of 44 captions in 24 other languages did.
 */
import type * as SentencePiece from "@reelgraph/onnx/SentencePiece"
import * as Effect from "effect/Effect"
import * as Schema from "effect/Schema"

/** What a message quotes of a text at most. */
const quoted = 60

const quote = (text: string): string =>
  JSON.stringify(text.length > quoted ? `${text.slice(0, quoted).toWellFormed()}...` : text.toWellFormed())

/** There are no words: nothing, white space, punctuation, numbers or symbols alone. */
export class PromptEmpty extends Schema.TaggedError<PromptEmpty>()("PromptEmpty", {
  /** What there is, its beginning. */
  found: Schema.String,
}) {
  override get message() {
    return `expected a description in words, found ${this.found}`
  }
}

/** More than the text encoder has room for. */
export class PromptTooLong extends Schema.TaggedError<PromptTooLong>()("PromptTooLong", {
  unit: Schema.Literals(["tokens", "characters"]),
  found: Schema.Int,
  limit: Schema.Int,
}) {
  override get message() {
    return `expected at most ${this.limit} ${this.unit}, found ${this.found}; shorten the prompt`
  }
}

/** Not English, as far as can be told. */
export class PromptLanguage extends Schema.TaggedError<PromptLanguage>()("PromptLanguage", {
  /** `Script`: its letters are not Latin. `Spelling`: most words have no pieces. `Language`: by its words. */
  reason: Schema.Literals(["Script", "Spelling", "Language"]),
  /** A script, words, or a language, in English. */
  found: Schema.String,
}) {
  override get message() {
    return `expected a prompt in English, found ${this.found}; the text encoder knows no other language`
  }
}

/** None of the words that carry meaning is one that the model was trained with. */
export class PromptUnknown extends Schema.TaggedError<PromptUnknown>()("PromptUnknown", {
  unknown: Schema.Array(Schema.String),
  /** Some words that are known. */
  examples: Schema.Array(Schema.String),
}) {
  override get message() {
    const words = this.unknown.length === 0 ? "only function words" : this.unknown.join(", ")
    return `expected words that the model was trained with, such as ${this.examples.join(", ")}; found ${words}`
  }
}

export type PromptError = PromptEmpty | PromptTooLong | PromptLanguage | PromptUnknown

export interface Prompt {
  /** Normalised: NFKC, without control characters, single spaces. */
  readonly text: string
  /** Ids of pieces, at least one. */
  readonly tokens: ReadonlyArray<number>
  /**
   * Words, in lower case, that the model does not know: those outside of the vocabulary where one is given, otherwise
   * those that the tokenizer cannot spell.
   */
  readonly unknown: ReadonlyArray<string>
}

export interface Options {
  readonly tokenizer: SentencePiece.SentencePiece
  /** As many as the text encoder is opened with. */
  readonly maxTokens: number
  /** The words of the captions a model was trained with, in lower case. @default any word is known */
  readonly vocabulary?: ReadonlySet<string>
  /** The id of the piece for what cannot be spelled. @default 0 */
  readonly unknownPiece?: number
}

/** Characters per token that are looked at; English has about 5. What is longer is refused unread. */
const charactersPerToken = 32

/** NFKC, without control, format, private and unassigned characters and lone surrogates, with single spaces. */
export const normalize = (text: string): string =>
  text
    .replaceAll(/\s+/gu, " ")
    .replaceAll(/[\p{C}\uFFFD]/gu, "")
    .normalize("NFKC")
    .replaceAll(/\s+/gu, " ")
    .trim()

/** Words in lower case, a possessive without its ending, and pictographs. */
export const words = (text: string): ReadonlyArray<string> =>
  (
    text
      .toLowerCase()
      .replaceAll("\u2019", "'")
      .match(/[\p{L}\p{N}][\p{L}\p{M}\p{N}]*(?:'[\p{L}\p{M}]+)*|\p{Extended_Pictographic}/gu) ?? []
  ).map((word) => word.replace(/'s$/u, ""))

const scripts = (
  "Arabic Armenian Bengali Cyrillic Devanagari Ethiopic Georgian Greek Gujarati Hangul Hebrew Hiragana Katakana Han " +
  "Khmer Lao Malayalam Myanmar Tamil Telugu Thai Tibetan"
)
  .split(" ")
  .map((script) => [script, new RegExp(`\\p{Script=${script}}`, "u")] as const)

const letters = (text: string): ReadonlyArray<string> => text.match(/\p{L}/gu) ?? []

/** The script of most letters when that is not Latin. */
const otherScript = (text: string): string | undefined => {
  const all = letters(text)
  const foreign = all.filter((letter) => !/\p{Script=Latin}/u.test(letter))
  if (2 * foreign.length <= all.length) return undefined
  const script = scripts.find(([, pattern]) => foreign.some((letter) => pattern.test(letter)))?.[0]
  return script === undefined ? "a script that is not Latin" : `${script} script`
}

const wordSet = (words: string): ReadonlySet<string> => new Set(words.split(" "))

/** Words without which English is hardly spoken, and which languages near to it do not have. */
const plainlyEnglish = wordSet("the with and of while into through across behind its this that which from")

/** Function words of languages that English captions borrow names from, one by one. */
const plainlyOther = wordSet(
  "der die das den dem ein eine einen einem und im auf von mit ist le la les un une des du de sur au aux dans et est " +
    "el los las una por con del y il lo gli una di della sul sulla um uma na da het een op van en och ett egy az",
)

/** Function words, which say nothing about what is to be seen. */
const functionWords = wordSet(
  "a an the this that these those it its he she they them his her their i you we us my your our who which what there here " +
    "is are was were be been being has have had do does did will would can could may might must should " +
    "and or but not no nor so as than then if while when where " +
    "of in on at to from by with without for into onto over under across through past towards toward against " +
    "up down off out about around along between among behind before after above below near very just also some any all",
)

const withLetters = (all: ReadonlyArray<string>) => all.filter((word) => /\p{L}/u.test(word))

/** What eld says of a text: its best language, whose score it compares with that of English. */
interface Guess {
  readonly language: string
  readonly reliable: boolean
  readonly best: number
  readonly english: number
}

/**
 * Whether a guess is enough to refuse a prompt: by at least four words, none plainly English; a score that another
 * language has and English has not, by a margin that is less where two words are plainly of another language.
 */
const confident = (all: ReadonlyArray<string>, { best, english, language, reliable }: Guess): boolean => {
  const spoken = withLetters(all)
  if (language === "en" || !reliable || spoken.length < 4) return false
  if (spoken.some((word) => plainlyEnglish.has(word))) return false
  const other = spoken.filter((word) => plainlyOther.has(word) || /[^\p{ASCII}]/u.test(word)).length
  return best >= 0.68 && best - english >= (other >= 2 ? 0.2 : 0.3)
}

/** eld is 0.4 s and 160 MB to load: not before somebody asks. */
const detector = Effect.promise(() => import("eld/medium"))

const guess = Effect.fnUntraced(function* (text: string) {
  const { eld } = yield* detector
  const result = eld.detect(text)
  const scores = result.getScores()
  return {
    language: result.language,
    reliable: result.isReliable(),
    best: scores[result.language] ?? 0,
    english: scores["en"] ?? 0,
  } satisfies Guess
})

const languageNames = new Intl.DisplayNames(["en"], { type: "language" })

const checkLanguage = Effect.fnUntraced(function* (
  text: string,
  all: ReadonlyArray<string>,
  unspelled: ReadonlyArray<string>,
) {
  const script = otherScript(text)
  if (script !== undefined) return yield* new PromptLanguage({ reason: "Script", found: script })
  const odd = withLetters(unspelled)
  if (2 * odd.length > withLetters(all).length)
    return yield* new PromptLanguage({
      reason: "Spelling",
      found: `words that cannot be spelled: ${odd.slice(0, 8).join(", ")}`,
    })
  const guessed = yield* guess(text)
  if (confident(all, guessed))
    return yield* new PromptLanguage({
      reason: "Language",
      found: languageNames.of(guessed.language) ?? guessed.language,
    })
})

/** Words that are worth knowing, each once. */
const contentWords = (all: ReadonlyArray<string>): ReadonlyArray<string> =>
  [...new Set(all)].filter((word) => !functionWords.has(word) && !/^\p{N}+$/u.test(word))

/**
 * The prompt, cleaned and as tokens, or why it cannot be one. A text of any length costs no more than one of
 * `32 maxTokens` characters.
 *
 * The language is not looked at where at least half of the words that carry meaning are in the vocabulary.
 */
export const check = Effect.fn("Prompt.check")(function* (
  text: string,
  { maxTokens, tokenizer, unknownPiece = 0, vocabulary }: Options,
) {
  const most = charactersPerToken * maxTokens
  if (text.length > most)
    return yield* new PromptTooLong({ unit: "characters", found: text.length, limit: most })
  const clean = normalize(text)
  if (!/\p{L}/u.test(clean))
    return yield* new PromptEmpty({ found: clean === "" ? "nothing that can be seen" : quote(clean) })
  const all = words(clean)
  const content = contentWords(all)
  const unspelled = all.filter((word) => tokenizer.encode(word).includes(unknownPiece))
  const known = vocabulary === undefined ? [] : content.filter((word) => vocabulary.has(word))
  if (known.length === 0 || 2 * known.length < content.length) yield* checkLanguage(clean, all, unspelled)

  const tokens = tokenizer.encode(clean)
  if (tokens.length > maxTokens)
    return yield* new PromptTooLong({ unit: "tokens", found: tokens.length, limit: maxTokens })
  if (vocabulary === undefined) return { text: clean, tokens, unknown: [...new Set(unspelled)] }
  const unknown = content.filter((word) => !vocabulary.has(word))
  if (known.length === 0)
    return yield* new PromptUnknown({
      unknown,
      examples: [...vocabulary].filter((word) => !functionWords.has(word)).slice(0, 8),
    })
  return { text: clean, tokens, unknown }
}) satisfies (text: string, options: Options) => Effect.Effect<Prompt, PromptError>
