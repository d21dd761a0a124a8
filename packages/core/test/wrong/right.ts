/** Correct wirings: nothing in this file may be an error. */
import { expectTypeOf } from "vitest"

import {
  BlobStore,
  Caption,
  Captioner,
  captionerOf,
  captionerOfStore,
  Checkpoint,
  Clip,
  DecodeTiny,
  DecodeWan,
  Dit,
  drop,
  Effect,
  Embed,
  Encode,
  Graph,
  keep,
  Layer,
  Operator,
  Port,
  Schema,
  ScoredClip,
  Short,
  Tensor,
  TinyLatent,
  Train,
  WanLatent,
} from "./ports.ts"

const Score = Operator.map("score", {
  version: "1.0.0",
  input: Clip,
  output: ScoredClip,
  run: (clip) => Effect.succeed({ ...clip, score: 1 }),
})
const Best = Operator.filter("best", {
  version: "1.0.0",
  input: ScoredClip,
  params: Schema.Struct({
    min: Schema.Finite.pipe(Schema.withDecodingDefaultKey(Effect.succeed(0.5))),
  }),
  run: ({ score }, { min }) => {
    expectTypeOf<typeof min>().toEqualTypeOf<number>()
    return Effect.succeed(score >= min ? keep : drop("low"))
  },
})

export const filters = Graph.make("filters", { version: "1.0.0" }, (g) => {
  const scored = g.input("clips", Clip).pipe(Score())
  // A filter that takes a narrower record passes the richer one on, with its type.
  const short = scored.pipe(Short())
  expectTypeOf<Port.RecordOf<(typeof short)["port"]>["score"]>().toEqualTypeOf<number>()
  expectTypeOf<(typeof short)["from"]>().toEqualTypeOf<"short">()
  return { best: short.pipe(Best()), strict: scored.pipe(Best({ min: 0.9 }).as("strict")) }
})
expectTypeOf<typeof filters>().toEqualTypeOf<Graph.Graph<"filters", "best" | "strict", never>>()

export const six = Graph.make("six", { version: "1.0.0" }, (g) => {
  const text = g.input("captions", Caption).pipe(Embed())
  const last = g
    .input("clips", Clip)
    .pipe(
      Short(),
      Score(),
      Best(),
      Encode(),
      Dit({ steps: 4 }).as("denoise").with({ text }),
      DecodeTiny().as("last"),
    )
  expectTypeOf<(typeof last)["from"]>().toEqualTypeOf<"last">()
  expectTypeOf<(typeof last)["port"]>().toEqualTypeOf<typeof Clip>()
  return { last }
})

export const sides = Graph.make("sides", { version: "1.0.0" }, (g) => {
  const text = g.input("captions", Caption).pipe(Embed())
  const latents = g.input("clips", Clip).pipe(Encode())
  // The order of `as` and `with` does not matter.
  return {
    first: latents.pipe(Train({ steps: 1 }).with({ text }).as("first")),
    second: latents.pipe(Train({ steps: 2 }).as("second").with({ text })),
  }
})

/** Symbols on either side are left to Verify; a port that names no space, rate or range takes any. */
const AnyClip = Port.make("AnyClip", {
  record: Schema.Struct({ id: Schema.String }),
  tensors: { video: Tensor.make({ dtype: "u8", shape: ["T", "C", "H", "W"] }) },
})
const Length = Operator.map("length", {
  version: "1.0.0",
  input: AnyClip,
  output: Caption,
  sides: { weights: Operator.one(Checkpoint), latents: Operator.all(TinyLatent) },
  run: ({ id }, _, { sides }) => {
    expectTypeOf<typeof sides.weights>().toEqualTypeOf<{ readonly step: number }>()
    expectTypeOf<typeof sides.latents>().toEqualTypeOf<ReadonlyArray<{ readonly id: string }>>()
    return Effect.succeed({ id, text: String(sides.latents.length + sides.weights.step) })
  },
})
export const symbols = Graph.make("symbols", { version: "1.0.0" }, (g) => {
  const weights = g.input("weights", Checkpoint)
  const latents = g.input("latents", TinyLatent)
  return {
    captions: g.input("wan", WanLatent).pipe(DecodeWan(), Length().with({ weights, latents }), Embed()),
  }
})

/** An operator made by a generic function keeps its types. */
const passing = <const Name extends string, P extends Port.Any>(name: Name, port: P) =>
  Operator.filter(name, { version: "1.0.0", input: port, run: () => Effect.succeed(keep) })
export const generic = Graph.make("generic", { version: "1.0.0" }, (g) => ({
  latents: g.input("clips", Clip).pipe(passing("all", Clip)(), Encode()),
}))

/** What operators need goes from their nodes through edges and side edges to the graph. */
const Stored = Operator.filter("stored", {
  version: "1.0.0",
  input: Clip,
  needs: [BlobStore],
  run: ({ id }) => BlobStore.use(({ get }) => Effect.succeed(get(id) === "" ? drop("empty") : keep)),
})
const Recaption = Operator.map("recaption", {
  version: "1.0.0",
  input: Clip,
  output: Caption,
  params: Schema.Struct({ prefix: Schema.String }),
  layer: captionerOfStore,
  needs: [BlobStore],
  run: ({ id }, { prefix }, { attempt }) =>
    Effect.gen(function* () {
      expectTypeOf<typeof attempt>().toEqualTypeOf<number>()
      yield* Effect.addFinalizer(() => Effect.void)
      return { id, text: prefix + (yield* Captioner.use(({ describe }) => describe(id))) }
    }),
})
/** A layer that gives all that `run` asks for leaves nothing to need. */
const Faked = Operator.batch("faked", {
  version: "1.0.0",
  input: Clip,
  output: Caption,
  size: 4,
  layer: Layer.succeed(
    Captioner,
    captionerOf(() => "a fake"),
  ),
  run: (clips) => Captioner.use(({ all }) => all(clips)),
})
/** Services that nobody gives are the business of whoever runs the graph. */
const Asking = Operator.map("asking", {
  version: "1.0.0",
  input: Caption,
  output: Caption,
  needs: [Captioner],
  sides: { other: Operator.one(Caption) },
  run: (caption) => Effect.as(Captioner, caption),
})
export const needing = Graph.make("needing", { version: "1.0.0" }, (g) => {
  const clips = g.input("clips", Clip)
  return { captions: clips.pipe(Stored(), Faked()), again: clips.pipe(Recaption({ prefix: "" })) }
})
expectTypeOf<typeof needing>().toEqualTypeOf<Graph.Graph<"needing", "captions" | "again", BlobStore>>()
export const bySide = Graph.make("by-side", { version: "1.0.0" }, (g) => {
  const other = g.input("clips", Clip).pipe(Recaption({ prefix: "" }).as("renamed"))
  const captions = g.input("captions", Caption).pipe(Asking().with({ other }).as("asked"))
  return { captions }
})
expectTypeOf<Graph.Needs<typeof bySide>>().toEqualTypeOf<BlobStore | Captioner>()
expectTypeOf<Graph.Needs<typeof filters>>().toBeNever()
expectTypeOf<Graph.Needs<Graph.Graph>>().toBeNever()

/** Operators of any type, for passes and runtimes. */
export const operators: ReadonlyArray<Operator.Any> = [Encode, Train, Short, Length, Stored, Recaption]
export const graphs: ReadonlyArray<Graph.Graph> = [filters, six, sides, symbols, generic, needing, bySide]
