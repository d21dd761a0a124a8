/**
 * The scenes of a set of the sample world: scene i is a function of the set's name, seed and look, and of i. Every
 * combination of the split comes once before any comes twice, each time round in another order.
 */
import { CounterRandom, type Port } from "@reelgraph/core"
import { Attributes, Captions, Scene } from "@reelgraph/world"

import type { WorldPart } from "./WorldPorts.ts"

/** What scenes depend on. */
type Look = Omit<Port.RecordOf<typeof WorldPart>, "from" | "to">

const combinations = {
  trained: Attributes.trained,
  "held-out": Attributes.heldOut,
  all: Attributes.all,
}

/** The combinations that are shown. */
const shown = ({ motions, split }: Look): ReadonlyArray<Attributes.Attributes> =>
  motions === undefined
    ? combinations[split]
    : combinations[split].filter(({ motion }) => motions.includes(motion))

/** The combinations of one time round. */
const round = (look: Look, turn: number): ReadonlyArray<Attributes.Attributes> => {
  const { name, seed } = look
  const list = shown(look)
  const key = CounterRandom.key(seed, `${name}/round/${turn}`, "world/order")
  const ranks = CounterRandom.uniforms(key, list.length)
  return list
    .map((_, i) => i)
    .toSorted((a, b) => ranks[a]! - ranks[b]!)
    .map((i) => list[i]!)
}

/** One clip to be drawn, and what may be said of it. */
export interface WorldScene {
  readonly name: string
  readonly scene: Scene.Scene
  readonly captions: ReadonlyArray<string>
  readonly frames: number
}

/** Scenes `from` to `to - 1`. */
export const range = (look: Look, from: number, to: number): ReadonlyArray<WorldScene> => {
  const { captionsPerClip, frames, height, images, positions, seed, width } = look
  const { length } = shown(look)
  const rounds = new Map<number, ReadonlyArray<Attributes.Attributes>>()
  return Array.from({ length: to - from }, (_, offset) => {
    const i = from + offset
    const turn = Math.floor(i / length)
    if (!rounds.has(turn)) rounds.set(turn, round(look, turn))
    const attributes = rounds.get(turn)![i % length]!
    const name = `${look.name}/${i}`
    const key = (of: string) => CounterRandom.key(seed, name, of)
    const [chance] = CounterRandom.uniforms(key("world/image"), 1)
    return {
      name,
      scene: Scene.make(attributes, key("world/scene"), { width, height, positions }),
      captions: Array.from({ length: captionsPerClip }, (_, c) =>
        Captions.caption(attributes, key(`world/caption/${c}`)),
      ),
      frames: chance! < images ? 1 : frames,
    }
  })
}
