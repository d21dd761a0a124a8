import { CounterRandom } from "@reelgraph/core"
import { Attributes, Render, Scene } from "@reelgraph/world"

export const key = (name: string): CounterRandom.Key => CounterRandom.key(1, name, "world/test")

/** Every nth combination's scene, the combinations in an order in which all attributes change. */
export const scenes = (count: number, options: Scene.Options = {}): ReadonlyArray<Scene.Scene> =>
  Array.from({ length: count }, (_, i) =>
    Scene.make(Attributes.all[(i * 373) % Attributes.all.length]!, key(`scene ${i}`), options),
  )

/** A clip of 16 frames at scale 1. */
export const clip = (scene: Scene.Scene): Uint8Array => Render.frames(scene, { frames: 16 })

/** The scene on a backdrop of one colour, itself of one colour. */
export const plain = (scene: Scene.Scene): Scene.Scene => ({
  ...scene,
  shading: 0,
  backdrop: {
    ...scene.backdrop,
    gradient: [0, 0],
    wave: { ...scene.backdrop.wave, amplitude: 0 },
    grain: { ...scene.backdrop.grain, deviation: 0 },
  },
})
