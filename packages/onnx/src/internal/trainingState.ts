/**
 * The state of a training run inside its thread: two buffers for every tensor. A step reads one set and writes the
 * other, and then they change places. So updated parameters are never written into the buffer they are read from,
 * which the runtime allows and which trains silently wrong; and when a step came out infinite, the state before it
 * is still there.
 */
import type * as Ort from "onnxruntime-node"

import * as DType from "../DType.ts"
import * as Tensor from "../Tensor.ts"
import { toOrt } from "./ortTensor.ts"
import type { Tensors } from "./protocol.ts"

interface Pair {
  readonly tensor: Tensor.Tensor
  readonly fed: Ort.Tensor
}

/** Throws when a buffer is both read and written by one run. */
export const assertDisjoint = (
  feeds: { readonly [name: string]: Ort.Tensor },
  fetches: { readonly [name: string]: Ort.Tensor },
): void => {
  const read = new Map(
    Object.entries(feeds).map(([name, { data }]) => [(data as Float32Array).buffer, name] as const),
  )
  for (const [name, { data }] of Object.entries(fetches)) {
    const other = read.get((data as Float32Array).buffer)
    if (other !== undefined)
      throw new Error(
        `output ${name} would be written into the buffer of input ${other}: training would go wrong`,
      )
  }
}

export class TrainingState {
  readonly #ort: typeof Ort
  #now = new Map<string, Pair>()
  #next = new Map<string, Pair>()

  constructor(ort: typeof Ort) {
    this.#ort = ort
  }

  #pair(tensor: Tensor.Tensor): Pair {
    return { tensor, fed: toOrt(this.#ort, tensor) }
  }

  /** Takes copies of the tensors of a state; what it does not name stays. */
  restore(state: Tensors): void {
    for (const [name, { data, dtype, shape }] of Object.entries(state)) {
      const copy = DType.zeros(dtype, data.length)
      copy.set(data as never)
      this.#now.set(name, this.#pair(Tensor.make(dtype, shape, copy)))
      this.#next.set(name, this.#pair(Tensor.zeros(dtype, shape)))
    }
  }

  /** Copies, so that nobody holds what the next step writes. */
  read(names: ReadonlyArray<string> = [...this.#now.keys()]): Tensors {
    return Object.fromEntries(
      names.map((name) => {
        const pair = this.#now.get(name)
        if (pair === undefined) throw new Error(`there is no state ${name}`)
        const { data, dtype, shape } = pair.tensor
        return [name, Tensor.make(dtype, shape, data.slice())]
      }),
    )
  }

  /** What to feed for those of a model's inputs that are state. */
  feeds(inputs: ReadonlyArray<string>): Record<string, Ort.Tensor> {
    return Object.fromEntries(
      inputs.flatMap((name) => {
        const pair = this.#now.get(name)
        return pair === undefined ? [] : [[name, pair.fed]]
      }),
    )
  }

  /** Where a model's `next/` outputs go. */
  fetches(outputs: ReadonlyArray<string>): Record<string, Ort.Tensor> {
    return Object.fromEntries(
      outputs.flatMap((output) => {
        const pair = output.startsWith("next/") ? this.#next.get(output.slice(5)) : undefined
        return pair === undefined ? [] : [[output, pair.fed]]
      }),
    )
  }

  /** What was written becomes the state. */
  advance(outputs: ReadonlyArray<string>): void {
    for (const output of outputs) {
      if (!output.startsWith("next/")) continue
      const name = output.slice(5)
      const [now, next] = [this.#now.get(name)!, this.#next.get(name)!]
      this.#now.set(name, next)
      this.#next.set(name, now)
    }
  }
}
