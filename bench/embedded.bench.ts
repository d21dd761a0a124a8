/**
 * How well the models that come with the repository do: prompts of combinations and sentences that training never
 * showed, and what is read from the pixels (`Measure`, which reads rendered scenes without error: checked first, or
 * the bench fails).
 *
 * SAMPLER, STEPS, GUIDANCE and SHIFT change how is sampled, SAMPLES how often; SWEEP is how many prompts to try other
 * settings on, and WEIGHTS another folder of models. `docs/samples.png` is written anew.
 */
import { writeFileSync } from "node:fs"
import { join } from "node:path"
import { fileURLToPath } from "node:url"

import { CounterRandom } from "@reelgraph/core"
import * as ShiftVae from "@reelgraph/models/ShiftVae"
import * as TextModel from "@reelgraph/models/TextModel"
import * as Session from "@reelgraph/onnx/Session"
import { Attributes, Captions, Measure, Render, Scene, Score } from "@reelgraph/world"
import * as Config from "effect/Config"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"

import type { Bench } from "./main.ts"
import * as picture from "./picture.ts"
import { percent, table } from "./table.ts"
import * as worldModels from "./worldModels.ts"

const sheetPath = fileURLToPath(new URL("../docs/samples.png", import.meta.url))

/** Sessions of one thread each that sample at the same time. */
const workers = 2
const size = { frames: 16, height: 72, width: 128 }

const progress = (line: string) => Effect.sync(() => void process.stderr.write(`${line}\n`))

type Prompt = Captions.Prompt

/** The models in sessions of their own, with a thread each. */
const studio = Effect.fnUntraced(
  function* (vae: worldModels.Vae, denoiser: worldModels.DenoiserModel, guided: boolean) {
    const { latents } = denoiser.spec
    const session = yield* worldModels.predictor(denoiser, latents, guided ? 2 : 1)
    const decode = yield* worldModels.decoder(vae, latents)
    const sample = (settings: worldModels.Settings, asked: worldModels.Asked) =>
      Effect.map(
        worldModels.sample(session, denoiser.spec, latents, 1, settings, [asked]),
        ([sample]) => sample!,
      )
    return { sample, decode }
  },
  // A layer of its own: sessions of one model are otherwise shared.
  (effect) => Effect.flatMap(Layer.build(Session.layer()), (context) => Effect.provide(effect, context)),
)
type Studio = Effect.Success<ReturnType<typeof studio>>

/** Each item by whichever studio is free, results in the items' order. */
const spread = Effect.fnUntraced(function* <A, B, E>(
  studios: ReadonlyArray<Studio>,
  items: ReadonlyArray<A>,
  make: (studio: Studio, item: A, index: number) => Effect.Effect<B, E>,
) {
  const results: Array<B> = []
  let next = 0
  yield* Effect.forEach(
    studios,
    Effect.fnUntraced(function* (studio) {
      while (next < items.length) {
        const index = next++
        results[index] = yield* make(studio, items[index]!, index)
      }
    }),
    { concurrency: "unbounded" },
  )
  return results
})

/** Everything that samples come from. */
interface Setting {
  readonly studios: ReadonlyArray<Studio>
  readonly text: TextModel.TextModel
  readonly settings: worldModels.Settings
}

const clipsOf = Effect.fnUntraced(function* <A>(
  { settings, studios, text }: Setting,
  prompts: ReadonlyArray<Prompt>,
  name: string,
  use: (frames: Uint8Array, prompt: Prompt) => A,
) {
  const texts = yield* worldModels.texts(
    text,
    prompts.map(({ text }) => text),
  )
  return yield* spread(
    studios,
    prompts,
    Effect.fnUntraced(function* (studio, prompt, i) {
      if (i % 48 === 0) yield* progress(`${name}: ${i} of ${prompts.length}`)
      const key = CounterRandom.key(1, `${name} ${i}`, "bench/embedded")
      return use(yield* studio.decode(yield* studio.sample(settings, { text: texts[i]!, key })), prompt)
    }),
  )
})

const compare = (frames: Uint8Array, { attributes }: Pick<Prompt, "attributes">): Score.Comparison => ({
  attributes,
  reading: Measure.read(frames, size),
})

const comparisons = (setting: Setting, prompts: ReadonlyArray<Prompt>, name: string) =>
  clipsOf(setting, prompts, name, compare).pipe(
    Effect.tap((found) => progress(`${name}: ${scoreCells(found).join(" | ")}`)),
  )

const rendered = (count: number): ReadonlyArray<readonly [Prompt["attributes"], Uint8Array]> =>
  Array.from({ length: count }, (_, i) => {
    const attributes = Attributes.heldOut[i % Attributes.heldOut.length]!
    const scene = Scene.make(attributes, CounterRandom.key(1, `scene ${i}`, "bench/embedded"))
    return [attributes, Render.frames(scene, { frames: size.frames })]
  })

/** Scenes as they are: without an error, or nothing that follows means anything. */
const truthOf = (count: number) =>
  Effect.gen(function* () {
    const found = rendered(count).map(([attributes, frames]) => compare(frames, { attributes }))
    const { all } = Score.of(found)
    if (all < 1)
      return yield* Effect.die(`${percent(1 - all)} % of the rendered scenes are read as what they are not`)
    return found
  })

const decibels = (a: Uint8Array, b: Uint8Array): number => {
  let sum = 0
  for (let i = 0; i < a.length; i++) sum += (a[i]! - b[i]!) ** 2
  return 10 * Math.log10(255 ** 2 / (sum / a.length))
}

const mean = (values: ReadonlyArray<number>): number =>
  values.reduce((sum, value) => sum + value, 0) / values.length

const deviation = (values: ReadonlyArray<number>): number =>
  Math.sqrt(mean(values.map((value) => (value - mean(values)) ** 2)))

/** Scenes through the autoencoder and back. */
const reconstruct = Effect.fnUntraced(function* (vae: worldModels.Vae, { decode }: Studio, count: number) {
  const encode = yield* worldModels.encoder(vae, [size.frames, size.height, size.width])
  return yield* Effect.forEach(
    rendered(count),
    Effect.fnUntraced(function* ([attributes, frames]) {
      const again = yield* decode(yield* encode(frames))
      return { ...compare(again, { attributes }), decibels: decibels(frames, again) }
    }),
  )
})

/** Milliseconds of CPU and on the clock. */
const timed = <A, E>(effect: Effect.Effect<A, E>) =>
  Effect.gen(function* () {
    const [cpu, begun] = [process.cpuUsage(), performance.now()]
    const value = yield* effect
    const { system, user } = process.cpuUsage(cpu)
    return { value, cpu: (system + user) / 1000, wall: performance.now() - begun }
  })

/** What one clip costs, by one studio alone. */
const costOf = Effect.fnUntraced(function* ({ settings, studios: [studio], text }: Setting, count: number) {
  const [asked] = yield* worldModels.texts(text, ["a red circle moving left on a black background"])
  const runs = yield* Effect.forEach(
    Array.from({ length: count }, (_, i) => CounterRandom.key(2, `cost ${i}`, "bench/embedded")),
    Effect.fnUntraced(function* (key) {
      const sampled = yield* timed(studio!.sample(settings, { text: asked!, key }))
      const decoded = yield* timed(studio!.decode(sampled.value))
      return { sampled, decoded }
    }),
  )
  const row = (what: string, of: (run: (typeof runs)[number], clock: "cpu" | "wall") => number) => [
    what,
    median(runs.map((run) => of(run, "cpu"))).toFixed(1),
    median(runs.map((run) => of(run, "wall"))).toFixed(1),
  ]
  return table(
    ["", "CPU ms", "ms"],
    [
      row("a step of sampling", ({ sampled }, clock) => sampled[clock] / settings.steps),
      row("decoding", ({ decoded }, clock) => decoded[clock]),
      row("a clip", ({ decoded, sampled }, clock) => sampled[clock] + decoded[clock]),
    ],
  )
})

const median = (values: ReadonlyArray<number>): number => {
  const sorted = values.toSorted((a, b) => a - b)
  return (sorted[(sorted.length - 1) >> 1]! + sorted[sorted.length >> 1]!) / 2
}

const scoreHead = ["clips", "colour", "shape", "motion", "background", "all four", "found", "coherence"]

const scoreCells = (found: ReadonlyArray<Score.Comparison>): ReadonlyArray<string> => {
  const score = Score.of(found)
  return [
    String(score.count),
    percent(score.colour),
    percent(score.shape),
    percent(score.motion),
    percent(score.background),
    `**${percent(score.all)}**`,
    percent(score.found),
    score.coherence.toFixed(3),
  ]
}

/** How often each value (rows) was read as each other one (columns). */
const confusionTable = (what: string, values: ReadonlyArray<string>, confusion: Score.Confusion): string => {
  const read = [...values, "none"]
  return table(
    [what, ...read],
    values.map((value) => [value, ...read.map((other) => confusion[value]?.[other] ?? 0)]),
  )
}

/** Where shapes are on the mean of a clip, and how large: mean and deviation over clips. */
const placesRow = (what: string, found: ReadonlyArray<Score.Comparison>) => {
  const tracks = found.map(({ reading: { track } }) => track).filter((track) => track.length > 0)
  const of = (value: (sighting: Measure.Sighting) => number): string => {
    const values = tracks.map((track) => mean(track.map(value)))
    return `${mean(values).toFixed(1)} ± ${deviation(values).toFixed(1)}`
  }
  return [what, of(({ x }) => x), of(({ y }) => y), of(({ area }) => Math.sqrt(area))]
}

/** Held-out combinations that show every value about equally often: each one next that is rarest so far. */
const covering = (count: number): ReadonlyArray<Attributes.Attributes> => {
  const shown: Record<string, number> = {}
  const rarity = (attributes: Attributes.Attributes): number =>
    Object.values(attributes).reduce((sum, value) => sum + (shown[value] ?? 0) ** 2, 0)
  const left = [...Attributes.heldOut]
  return Array.from({ length: count }, () => {
    const at = left.reduce((best, each, i) => (rarity(each) < rarity(left[best]!) ? i : best), 0)
    const [chosen] = left.splice(at, 1)
    for (const value of Object.values(chosen!)) shown[value] = (shown[value] ?? 0) + 1
    return chosen!
  })
}

const sheetPrompts: ReadonlyArray<Prompt> = covering(16).map((attributes, i) => ({
  attributes,
  text: Captions.caption(attributes, CounterRandom.key(1, `sheet ${i}`, "bench/embedded"), {
    templates: "held-out",
  }),
}))

const shownFrames = 6
const gap = 2
const margin = 8
const dark = [30, 30, 34] as const
const alarm = [196, 30, 30] as const

/** A row for each prompt: the prompt, six frames at even times, and in red what else was read from them. */
const sheet = (clips: ReadonlyArray<Uint8Array>): picture.Picture => {
  const { frames, height, width } = size
  const rowHeight = picture.lineHeight + 2 + height + margin
  const page = picture.blank(
    2 * margin + shownFrames * (width + gap) - gap,
    margin + clips.length * rowHeight,
    [255, 255, 255],
  )
  clips.forEach((clip, row) => {
    const { attributes, text } = sheetPrompts[row]!
    const y = margin + row * rowHeight
    picture.write(page, text, margin, y, dark)
    const { background, colour, motion, shape } = Measure.read(clip, size)
    const read = { colour, shape, motion, background }
    const names = Object.keys(attributes) as ReadonlyArray<keyof Attributes.Attributes>
    const wrong = names.flatMap((name) => (read[name] === attributes[name] ? [] : [read[name] ?? "nothing"]))
    if (wrong.length > 0) {
      const said = `read: ${wrong.join(", ")}`
      picture.write(page, said, page.width - margin - said.length * picture.advance, y, alarm)
    }
    for (let i = 0; i < shownFrames; i++) {
      const frame = Math.round((i * (frames - 1)) / (shownFrames - 1))
      const pixels = clip.subarray(3 * frame * height * width, 3 * (frame + 1) * height * width)
      picture.place(page, pixels, width, margin + i * (width + gap), y + picture.lineHeight + 2)
    }
  })
  return page
}

/** Other settings, one changed at a time. */
const variations: ReadonlyArray<Partial<worldModels.Settings>> = [
  {},
  { guidance: 2 },
  { guidance: 3 },
  { guidance: 5 },
  { shift: 1 },
  { shift: 5 },
  { steps: 10 },
  { steps: 40 },
]

const sweep = Effect.fnUntraced(function* (setting: Setting, count: number) {
  const prompts = Captions.prompts(count, { templates: "held-out" }, 4)
  const rows = yield* Effect.forEach(
    variations,
    Effect.fnUntraced(function* (variation) {
      const settings = { ...setting.settings, ...variation }
      yield* progress(`sweep: ${JSON.stringify(variation)}`)
      const found = yield* comparisons({ ...setting, settings }, prompts, "sweep")
      const { guidance, shift, steps } = settings
      return [steps, guidance, shift, ...scoreCells(found)]
    }),
  )
  return [
    "",
    "Other settings, one changed at a time, on the same prompts and noise:",
    "",
    table(["steps", "guidance", "shift", ...scoreHead], rows),
  ]
})

const run = Effect.gen(function* () {
  const settings: worldModels.Settings = {
    sampler: yield* Config.Literals(["flow-euler", "unipc", "dpm-solver", "ddim"], "SAMPLER").pipe(
      Config.withDefault("flow-euler" as const),
    ),
    steps: yield* Config.Int("STEPS").pipe(Config.withDefault(20)),
    guidance: yield* Config.Finite("GUIDANCE").pipe(Config.withDefault(4)),
    shift: yield* Config.Finite("SHIFT").pipe(Config.withDefault(4)),
  }
  const samples = yield* Config.Int("SAMPLES").pipe(Config.withDefault(6 * Attributes.heldOut.length))
  const swept = yield* Config.Int("SWEEP").pipe(Config.withDefault(0))
  const folder = yield* Config.String("WEIGHTS").pipe(Config.withDefault(worldModels.weightsFolder))

  const truth = yield* truthOf(samples)
  const vae = yield* worldModels.vaeAt(folder)
  const denoiser = yield* worldModels.denoiserAt(join(folder, "denoiser.safetensors"))
  if (denoiser.spec.vae !== vae.sha256)
    return yield* Effect.die(`the denoiser knows the latents of ${denoiser.spec.vae}, not of ${vae.sha256}`)
  const guided = settings.guidance !== 1
  const studios = yield* Effect.forEach(Array.from({ length: workers }), () => studio(vae, denoiser, guided))
  const text = yield* TextModel.open({ provider: "cpu", maxTokens: denoiser.spec.tokens })
  const setting = { studios, text, settings }

  const cost = yield* costOf(setting, 8)
  const again = yield* reconstruct(vae, studios[0]!, Math.min(samples, Attributes.heldOut.length))
  const clips = yield* clipsOf(setting, sheetPrompts, "sheet", (frames) => frames)
  writeFileSync(sheetPath, picture.toPng(sheet(clips)))
  const known = yield* comparisons(
    setting,
    Captions.prompts(samples, { templates: "held-out" }, 2),
    "known words",
  )
  const unknown = yield* comparisons(
    setting,
    Captions.prompts(
      Math.min(samples, 3 * Attributes.heldOut.length),
      { templates: "held-out", words: "held-out" },
      3,
    ),
    "new words",
  )
  const others = swept > 0 ? yield* sweep(setting, swept) : []

  const { confusion } = Score.of(known)
  const { space, time } = ShiftVae.factors(vae.spec.config)
  const loss = again.map(({ decibels }) => decibels)
  const megabytes = process.resourceUsage().maxRSS / 1024
  return [
    `Autoencoder ${vae.sha256.slice(0, 12)}: ${(vae.parameters / 1e6).toFixed(1)} million parameters, ${space} x ${space} pixels of ${time} frames to ${vae.spec.config.zDim} numbers. Denoiser`,
    `${denoiser.sha256.slice(0, 12)}: ${(denoiser.parameters / 1e6).toFixed(1)} million parameters. Clips of ${size.frames} frames of ${size.width} x ${size.height}. Sampled by ${settings.sampler} in ${settings.steps}`,
    `steps with guidance ${settings.guidance} and shift ${settings.shift}.`,
    "",
    "Every prompt is of one of the 112 combinations, and in one of the sentences, that training never showed. Per cent",
    "of clips from whose pixels is read what the prompt says; coherence is the share of what stands out that is one",
    `thing. The standard error of a share of ${samples} is up to ${(50 / Math.sqrt(samples)).toFixed(1)}.`,
    "",
    table(
      ["", ...scoreHead],
      [
        ["rendered scenes", ...scoreCells(truth)],
        ["scenes through the autoencoder", ...scoreCells(again)],
        ["samples, words of training", ...scoreCells(known)],
        ["samples, words never trained on", ...scoreCells(unknown)],
      ],
    ),
    "",
    `Through the autoencoder: ${mean(loss).toFixed(1)} dB on the mean, ${Math.min(...loss).toFixed(1)} dB at least (PSNR of a clip).`,
    "",
    "What the samples with words of training were to show, and what was read:",
    "",
    confusionTable("shape", Attributes.Shape.literals, confusion.shape),
    "",
    confusionTable("motion", Attributes.Motion.literals, confusion.motion),
    "",
    "Where shapes are on the mean of a clip, and the root of their area: mean ± deviation over clips, in pixels. A",
    "prompt says nothing of either.",
    "",
    table(
      ["", "x", "y", "size"],
      [
        placesRow("rendered scenes", truth),
        placesRow("samples, words of training", known),
        placesRow("samples, words never trained on", unknown),
      ],
    ),
    ...others,
    "",
    "One clip at a time by one thread, median of 8; a step asks the denoiser twice in one run, for guidance:",
    "",
    cost,
    "",
    `Resident memory was at most ${megabytes.toFixed(0)} MiB, with ${workers} denoisers, ${workers} decoders, the encoder and the text encoder open.`,
  ].join("\n")
}).pipe(Effect.scoped, Effect.provide(Session.layer()), Effect.orDie)

export const bench: Bench = {
  description: "how well the embedded models draw what prompts say (3 minutes)",
  run,
}
