/**
 * The gradients of a convolution are convolutions (Dumoulin and Visin 2016, "A guide to convolution arithmetic").
 *
 * By the input: with stride 1, a convolution of dy with the kernel flipped and its channels swapped, which on a
 * CPU is several times faster than ConvTranspose; otherwise ConvTranspose. By the kernel: a convolution of x with
 * dy as the kernel, batch and channels swapped on both sides, strides and dilations exchanged.
 */
import type { Float } from "../DType.ts"
import * as Ops from "../Ops.ts"
import type { Attributes, Node, Value } from "../Value.ts"
import { apply } from "./apply.ts"
import { windowOf } from "./infer.ts"

type F = Value<Float>

/** Swaps the first two axes. */
const swapped = (x: F): F => Ops.transpose(x, [1, 0, ...x.shape.slice(2).map((_, i) => i + 2)])

/** `[M, C/g, ..]` to `[C, M/g, ..]`, group by group. */
const kernelSwapped = (w: F, group: number): F => {
  if (group === 1) return swapped(w)
  const [out, each, ...kernel] = w.shape as ReadonlyArray<number>
  const grouped = Ops.reshape(w, [group, out! / group, each!, ...kernel])
  const order = [0, 2, 1, ...kernel.map((_, i) => i + 3)]
  return Ops.reshape(Ops.transpose(grouped, order), [group * each!, out! / group, ...kernel])
}

export const conv = (
  dy: F,
  node: Node,
  needs: (input: number) => boolean,
): ReadonlyArray<Value | undefined> => {
  const [x, w] = [node.inputs[0] as F, node.inputs[1] as F]
  const axes = x.shape.length - 2
  const { dilations, group, kernel, pads, strides } = windowOf(node, axes)
  const room = x.shape.slice(2) as ReadonlyArray<number>
  const steps = dy.shape.slice(2) as ReadonlyArray<number>
  const spatial = room.map((_, i) => i + 2)

  const byInput = (): F => {
    const back = pads.map((pad, i) => (kernel[i % axes]! - 1) * dilations[i % axes]! - pad)
    if (strides.every((stride) => stride === 1) && back.every((pad) => pad >= 0)) {
      const flipped = kernel.every((length) => length === 1) ? w : Ops.flip(w, spatial)
      return apply("Conv", [dy, kernelSwapped(flipped, group)], {
        kernel_shape: kernel,
        pads: back,
        strides,
        dilations,
        group,
      })
    }
    // Elements of x that no step of the window reached: the remainder of the division by the stride.
    const rest = room.map(
      (dim, i) =>
        dim +
        pads[i]! +
        pads[i + axes]! -
        ((kernel[i]! - 1) * dilations[i]! + 1) -
        (steps[i]! - 1) * strides[i]!,
    )
    return apply("ConvTranspose", [dy, w], {
      kernel_shape: kernel,
      pads,
      strides,
      dilations,
      output_padding: rest,
      group,
    })
  }

  const byKernel = (): F => {
    const attributes: Attributes = {
      kernel_shape: steps,
      pads,
      strides: dilations,
      dilations: strides,
      group,
    }
    const [batch, channels] = x.shape as ReadonlyArray<number>
    const grouped =
      group === 1
        ? swapped(x)
        : Ops.reshape(
            Ops.transpose(Ops.reshape(x, [batch!, group, channels! / group, ...room]), [
              2,
              1,
              0,
              ...room.map((_, i) => i + 3),
            ]),
            [channels! / group, group * batch!, ...room],
          )
    const full: F = apply("Conv", [grouped, swapped(dy)], attributes)
    const cut = kernel.reduce(
      (value, length, i) => (value.shape[i + 2] === length ? value : Ops.slice(value, i + 2, 0, length)),
      full,
    )
    return swapped(cut)
  }

  return [
    needs(0) ? byInput() : undefined,
    needs(1) ? byKernel() : undefined,
    needs(2) ? Ops.reduceSum(dy, { axes: [0, ...spatial] }) : undefined,
  ]
}
