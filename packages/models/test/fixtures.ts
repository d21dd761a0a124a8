/** Reference outputs of the published modules at tiny sizes, and models run on them. */
import { fileURLToPath } from "node:url"

import { assert } from "@effect/vitest"
import * as Onnx from "@reelgraph/onnx/Onnx"
import * as Safetensors from "@reelgraph/onnx/Safetensors"
import * as Session from "@reelgraph/onnx/Session"
import type * as Tensor from "@reelgraph/onnx/Tensor"
import type * as TensorGraph from "@reelgraph/onnx/TensorGraph"
import { Effect } from "effect"

export type File = "wan-tiny-io" | "wan-tiny-transformer" | "wan-tiny-vae"

export const open = (file: File) =>
  Safetensors.open(fileURLToPath(new URL(`fixtures/${file}.safetensors`, import.meta.url)))

/** One tensor of the inputs and outputs. */
export const io = (key: string) =>
  Effect.flatMap(open("wan-tiny-io"), (file) => file.read(key, { dtype: "f32" })).pipe(Effect.scoped)

export const run = <A, E>(
  effect: Effect.Effect<A, E, Session.Sessions | import("effect").Scope.Scope>,
): Effect.Effect<A, E> => effect.pipe(Effect.scoped, Effect.provide(Session.layer()))

/** The outputs of a graph, run once. */
export const evaluate = <I extends TensorGraph.Values, O extends TensorGraph.Values>(
  graph: TensorGraph.TensorGraph<I, O>,
  feeds: Session.TensorsOf<I>,
) =>
  Effect.flatMap(Session.open(Onnx.model(graph), { provider: "cpu" }), (session) => session.run(feeds)).pipe(
    Effect.scoped,
  )

export const maxDifference = (a: Tensor.Tensor<"f32">, b: Tensor.Tensor<"f32">): number => {
  assert.deepStrictEqual([...a.shape], [...b.shape])
  return a.data.reduce((most, value, i) => Math.max(most, Math.abs(value - b.data[i]!)), 0)
}

/** What the reference outputs are good for. */
export const tolerance = 2e-4
