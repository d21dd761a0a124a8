import { assert, describe, it } from "@effect/vitest"
import { Effect, Result } from "effect"

import * as Prompt from "../src/Prompt.ts"
import * as TextModel from "../src/TextModel.ts"

const options = Effect.map(TextModel.tokenizer(), (tokenizer) => ({ tokenizer, maxTokens: 32 }))

const check = (text: string, more: Partial<Prompt.Options> = {}) =>
  Effect.flatMap(options, (options) => Prompt.check(text, { ...options, ...more }))

const failure = (text: string, more: Partial<Prompt.Options> = {}) => Effect.flip(check(text, more))

/** Which of these texts fail, and how. */
const alarms = (texts: ReadonlyArray<string>) =>
  Effect.gen(function* () {
    const known = yield* options
    const results = yield* Effect.forEach(texts, (text) => Effect.result(Prompt.check(text, known)))
    return results.flatMap((result, i) =>
      Result.isFailure(result) ? [`${texts[i]}: ${result.failure.message}`] : [],
    )
  })

const colours = [
  "red",
  "crimson",
  "teal",
  "navy",
  "magenta",
  "turquoise",
  "violet",
  "rose",
  "lime green",
  "orange",
]
const shapes = ["ball", "circle", "star", "starfish", "square", "triangle", "disc", "box", "pyramid", "cube"]
const motions = [
  "rises",
  "drifts rightwards",
  "loops round and round",
  "stays put",
  "grows",
  "slides left",
  "falls",
  "swells up",
  "orbits",
  "moves down",
]
const grounds = [
  "navy backdrop",
  "black background",
  "sand",
  "white canvas",
  "gray field",
  "dark wall",
  "midnight sky",
  "beige ground",
  "charcoal",
  "cream paper",
]
const templates: ReadonlyArray<(colour: string, shape: string, motion: string, ground: string) => string> = [
  (c, s, m, g) => `${c} ${s} ${m}, ${g}`,
  (c, s, m) => `a ${c} ${s} ${m}`,
  (c, s, m, g) => `a ${c} ${s} ${m} across a ${g}`,
  (c, s, _, g) => `${s}, ${c}, ${g}`,
  (c, s, m, g) => `${g}: the ${c} ${s} ${m}`,
  (c, s, m, g) => `video of one ${c} ${s} that ${m} on ${g}`,
  (c, s) => `${c} ${s}`,
  (_, s, m) => `${s} ${m}`,
]

/** English captions: 800 of templates, and short ones of the kind that language detectors misjudge. */
const english = [
  ...colours.flatMap((colour, i) =>
    shapes.flatMap((shape, j) =>
      templates.map((template, k) =>
        template(colour, shape, motions[(i + j + k) % 10]!, grounds[(3 * i + j + k) % 10]!),
      ),
    ),
  ),
  "red ball rises, navy backdrop",
  "a teal starfish loops round and round",
  "teal disc orbits, sand",
  "A dog runs on the beach",
  "surfer rides a wave",
  "cat naps",
  "robot",
  "pizza margherita in a trattoria",
  "tango dancers in Buenos Aires",
  "la la land style dance",
  "bokeh lights, café in Paris",
  "a chihuahua chases a piñata",
  "Volkswagen Golf on autobahn",
  "grand piano solo concert hall",
  "Rio de Janeiro carnival samba parade",
  "Santa Maria della Salute, Venice, sunrise timelapse",
  "ballerina pirouettes en pointe",
  "a la carte menu flips",
  "El Capitan climber, Yosemite granite wall",
  "Oktoberfest waitress carries beer steins, Munich",
  "sauerkraut and bratwurst sizzle",
  "kimono geisha umbrella rain neon Tokyo street",
]

const others: { readonly [language: string]: ReadonlyArray<string> } = {
  German: [
    "Ein roter Ball rollt über den Strand",
    "Ein Hund läuft im Park",
    "rote Kugel steigt auf, dunkler Hintergrund",
  ],
  French: [
    "Un chien court sur la plage au coucher du soleil",
    "Le chat dort sur le canapé",
    "étoile bleue qui tourne sur un fond noir",
    "Une balle rouge monte lentement",
  ],
  Spanish: [
    "Un perro corre por la playa",
    "Una pelota roja sube despacio",
    "estrella azul girando sobre un fondo negro",
  ],
  Italian: ["Un cane corre sulla spiaggia", "Una palla rossa sale lentamente", "Il gatto dorme sul divano"],
  Portuguese: ["Um cachorro corre na praia", "Uma bola vermelha sobe devagar"],
  Dutch: ["Een hond rent over het strand", "De kat slaapt op de bank"],
  Swedish: ["En hund springer på stranden", "En röd boll stiger långsamt"],
  Polish: ["Pies biegnie po plaży", "Czerwona piłka powoli się unosi"],
  Turkish: ["Bir köpek sahilde koşuyor", "Kırmızı top yavaşça yükseliyor"],
  Finnish: ["Koira juoksee rannalla", "Punainen pallo nousee hitaasti"],
  Czech: ["Pes běží po pláži", "Červený míč pomalu stoupá"],
  Hungarian: ["Egy kutya fut a tengerparton", "A piros labda lassan emelkedik"],
  Romanian: ["Un câine aleargă pe plajă"],
  Indonesian: ["Seekor anjing berlari di pantai", "Bola merah naik perlahan"],
  Vietnamese: ["Một con chó chạy trên bãi biển", "Quả bóng đỏ bay lên từ từ"],
  Russian: ["Собака бежит по пляжу"],
  Japanese: ["犬が浜辺を走っている", "赤いボールがゆっくり上がる"],
  Chinese: ["一只狗在海滩上奔跑"],
  Korean: ["개가 해변을 달린다"],
  Arabic: ["كلب يركض على الشاطئ"],
  Hebrew: ["כלב רץ על החוף"],
  Hindi: ["एक कुत्ता समुद्र तट पर दौड़ रहा है"],
  Greek: ["Ένας σκύλος τρέχει στην παραλία"],
  Thai: ["สุนัขวิ่งบนชายหาด"],
}

describe("Prompt: what it gives back", () => {
  it.effect("the text as it is read, and its tokens", () =>
    Effect.gen(function* () {
      const prompt = yield* check("  A dog\n\truns\u00a0on the\u200b be\u0000ach ")
      assert.deepStrictEqual(prompt, {
        text: "A dog runs on the beach",
        tokens: [74, 959, 2696, 25, 9, 4303],
        unknown: [],
      })
      const wide = yield* check("Ａ ﬁne ｄｏｇ\uD800 \u202Eruns\u202C")
      assert.strictEqual(wide.text, "A fine dog runs")
      assert.strictEqual((yield* check(prompt.text)).text, prompt.text)
    }),
  )

  it.effect("what the tokenizer cannot spell, as a warning", () =>
    Effect.gen(function* () {
      const { tokens, unknown } = yield* check("a 犬 runs in the 🌊🌊 rain")
      assert.deepStrictEqual(unknown, ["犬", "🌊"])
      assert.strictEqual(tokens.filter((id) => id === 0).length, 2)
    }),
  )

  it("words in lower case, without possessives and punctuation", () => {
    assert.deepStrictEqual(Prompt.words("The dog’s BALL—light-blue, don't 24x!"), [
      "the",
      "dog",
      "ball",
      "light",
      "blue",
      "don't",
      "24x",
    ])
  })
})

describe("Prompt: errors", () => {
  const blanks = ["", "   \n\t", "...!?,;", "\u0000\u0001\u200b", "\uD800\uDBFF", "12 34", "🎈🎈", "\u202E"]
  for (const text of blanks)
    it.effect(`no words: ${JSON.stringify(text)}`, () =>
      Effect.map(failure(text), (error) => {
        assert.strictEqual(error._tag, "PromptEmpty")
        assert.include(error.message, "expected a description in words, found ")
      }),
    )

  it.effect("too many tokens, with their number and the limit", () =>
    Effect.gen(function* () {
      const text = "dog ".repeat(33)
      const error = yield* failure(text)
      assert.deepStrictEqual(error._tag === "PromptTooLong" && [error.unit, error.found, error.limit], [
        "tokens",
        33,
        32,
      ])
      assert.strictEqual(error.message, "expected at most 32 tokens, found 33; shorten the prompt")
      assert.strictEqual((yield* check("dog ".repeat(32))).tokens.length, 32)
      assert.strictEqual((yield* check(text, { maxTokens: 64 })).tokens.length, 33)
    }),
  )

  it.effect("a prompt of 100 million characters is refused unread", () =>
    Effect.gen(function* () {
      const known = yield* options
      /** A text of which nothing but the length can be asked. */
      const unread = new Proxy(
        {},
        {
          get: (_, property) => {
            if (property !== "length") throw new Error(`it was read: ${String(property)}`)
            return 1e8
          },
        },
      ) as unknown as string
      for (const text of ["dog ".repeat(250_000), "\u{1F415}".repeat(500_000), unread]) {
        const error = yield* Effect.flip(Prompt.check(text, known))
        assert.deepStrictEqual(error._tag === "PromptTooLong" && [error.unit, error.found, error.limit], [
          "characters",
          text.length,
          1024,
        ])
      }
      // As long as is looked at, each of which becomes 18 characters.
      const error = yield* failure("\uFDFA".repeat(1024))
      assert.strictEqual(error._tag, "PromptLanguage")
    }),
  )

  it.effect("no word that the model was trained with, and those that it was not", () =>
    Effect.gen(function* () {
      const vocabulary = new Set(["a", "the", "red", "blue", "ball", "rises", "navy", "backdrop"])
      const error = yield* failure("a walrus plays the saxophone", { vocabulary })
      assert.strictEqual(error._tag, "PromptUnknown")
      assert.strictEqual(
        error.message,
        "expected words that the model was trained with, such as red, blue, ball, rises, navy, backdrop; found walrus, plays, saxophone",
      )
      const functions = yield* failure("this is that", { vocabulary })
      assert.include(functions.message, "found only function words")
      const prompt = yield* check("The red walrus' ball RISES, red walrus", { vocabulary })
      assert.deepStrictEqual(prompt.unknown, ["walrus"])
      assert.deepStrictEqual((yield* check("red ball rises, navy backdrop", { vocabulary })).unknown, [])
    }),
  )

  it.effect("does not doubt the language of words that the model knows", () =>
    Effect.gen(function* () {
      const text = "Un chien court sur la plage"
      assert.strictEqual((yield* failure(text))._tag, "PromptLanguage")
      const vocabulary = new Set(["un", "chien", "court", "plage"])
      assert.deepStrictEqual((yield* check(text, { vocabulary })).unknown, ["sur", "la"])
    }),
  )

  it.effect("another script, by its name; right to left too", () =>
    Effect.gen(function* () {
      const names: ReadonlyArray<readonly [text: string, found: string]> = [
        ["Собака бежит по пляжу", "Cyrillic script"],
        ["כלב רץ על החוף", "Hebrew script"],
        ["犬が浜辺を走っている", "Hiragana script"],
        ["a 一只狗在海滩上奔跑", "Han script"],
        ["ᚠᚢᚦᚨᚱᚲ", "a script that is not Latin"],
      ]
      for (const [text, found] of names) {
        const error = yield* failure(text)
        assert.deepStrictEqual(error._tag === "PromptLanguage" && [error.reason, error.found], [
          "Script",
          found,
        ])
      }
      const error = yield* failure("Ein Hund läuft durch den Park")
      assert.strictEqual(
        error.message,
        "expected a prompt in English, found German; the text encoder knows no other language",
      )
      const odd = yield* failure("ꝑꝓꝕ ꜷꜹꜻ dog")
      assert.deepStrictEqual(odd._tag === "PromptLanguage" && odd.reason, "Spelling")
    }),
  )
})

describe("Prompt: languages", () => {
  it.effect(`raises no alarm about ${english.length} English captions`, () =>
    Effect.map(alarms(english), (found) => assert.deepStrictEqual(found, [])),
  )

  it.effect("raises one about most captions in other languages", () =>
    Effect.gen(function* () {
      const texts = Object.values(others).flat()
      assert.isAtLeast(texts.length, 40)
      const found = yield* alarms(texts)
      assert.isAtLeast(found.length / texts.length, 0.9)
      const silent = yield* Effect.filter(Object.entries(others), ([, texts]) =>
        Effect.map(alarms(texts), ({ length }) => length === 0),
      )
      assert.deepStrictEqual(silent, [])
    }),
  )
})
