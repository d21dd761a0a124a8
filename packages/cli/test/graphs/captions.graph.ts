/** Captions by operators that give again what they took, and a side input in which nothing is left. */
import { drop, Graph, Operator, Port } from "@reelgraph/core"
import * as Effect from "effect/Effect"
import * as Schema from "effect/Schema"

const version = "1.0.0"
const Caption = Port.make("Caption", { record: Schema.Struct({ caption: Schema.String }) })

/** Gives the caption as it is, and two variants. */
const Augment = Operator.flatMap("augment", {
  version,
  input: Caption,
  output: Caption,
  run: ({ caption }) =>
    Effect.succeed([{ caption }, { caption: caption.toUpperCase() }, { caption: `${caption}!` }]),
})

/** Gives the longest, made from all. */
const Longest = Operator.collect("longest", {
  version,
  input: Caption,
  output: Caption,
  run: (captions) =>
    Effect.succeed([
      Operator.emit(
        captions.reduce((a, b) => (b.caption.length > a.caption.length ? b : a)),
        captions.map((_, at) => at),
      ),
    ]),
})

const None = Operator.filter("none", {
  version,
  input: Caption,
  run: () => Effect.succeed(drop("unwanted")),
})

const Avoid = Operator.map("avoid", {
  version,
  input: Caption,
  output: Caption,
  sides: { words: Operator.all(Caption) },
  run: ({ caption }) => Effect.succeed({ caption: `${caption}, avoiding` }),
})

export default Graph.make("captions", { version }, (g) => {
  const captions = g.input("captions", Caption)
  return {
    augmented: captions.pipe(Augment()),
    longest: captions.pipe(Longest()),
    avoiding: captions.pipe(Avoid().with({ words: captions.pipe(None()) })),
  }
})
