/** An input of a graph while a simulation goes on. */
import type * as Profile from "../../Profile.ts"
import * as Draws from "./draws.ts"
import type * as SimulatedNode from "./simulatedNode.ts"

export interface SimulatedSource {
  readonly name: string
  readonly arrivals: number | Profile.Arrivals
  readonly consumers: Array<SimulatedNode.SimulatedNode>
  readonly sideConsumers: Array<SimulatedNode.SimulatedNode>
  readonly draws: Draws.Draws
  /** Items that are still to arrive, and those that have and are not passed on. */
  coming: number
  here: number
  feeding: boolean
  ended: boolean
}

export const make = (name: string, arrivals: number | Profile.Arrivals, seed: number): SimulatedSource => {
  const atOnce = typeof arrivals === "number"
  return {
    name,
    arrivals,
    consumers: [],
    sideConsumers: [],
    draws: Draws.make(seed, `input ${name}`),
    coming: atOnce ? 0 : arrivals.count,
    here: atOnce ? arrivals : 0,
    feeding: false,
    ended: false,
  }
}
