/**
 * Reverse-mode automatic differentiation: graph in, graph out.
 *
 * Nodes are visited from the last created to the first, so every value's gradient is complete before its node is
 * asked; the parts of a gradient are added in the order they arrive, which is the same in every process.
 */
import type { Float } from "./DType.ts"
import { callSite, OpUnsupported, ShapeMismatch } from "./GraphError.ts"
import { withVjp } from "./internal/apply.ts"
import { rules } from "./internal/vjp.ts"
import * as Ops from "./Ops.ts"
import * as Shape from "./Shape.ts"
import { type Node, reachable, type Value } from "./Value.ts"

/** The nodes on a path from one of `wrt` to the loss, and whether a value's gradient is wanted. */
const paths = (loss: Value, wrt: ReadonlyArray<Value>) => {
  const wanted = new Set<Value>(wrt)
  const touched = new Set<Node>()
  const isWanted = (value: Value | undefined): boolean =>
    value !== undefined && (wanted.has(value) || touched.has(value.node))
  const nodes = reachable([loss])
  for (const node of nodes) if (node.inputs.some(isWanted)) touched.add(node)
  return { nodes: nodes.filter((node) => touched.has(node)), isWanted }
}

/**
 * The gradients of `loss` by each of `wrt`. A loss with several elements counts as their sum. What the loss does
 * not depend on has a gradient of zeros.
 *
 * Throws `OpUnsupported` for an operator without a gradient between the two.
 */
export const gradients = <D extends Float>(
  loss: Value<Float>,
  wrt: ReadonlyArray<Value<D>>,
): ReadonlyArray<Value<D>> => {
  const { isWanted, nodes } = paths(loss, wrt)
  const arrived = new Map<Value, Array<Value<Float>>>([[loss, [Ops.fullLike(loss, 1)]]])

  const complete = (value: Value): Value<Float> | undefined => {
    const parts = arrived.get(value)
    if (parts === undefined) return undefined
    const sum = Ops.sum(parts)
    arrived.set(value, [sum])
    return sum
  }

  const pass = (value: Value, part: Value) => {
    if (!Shape.equal(part.shape, value.shape))
      throw new ShapeMismatch({
        op: `gradient of ${value.node.op}`,
        shapes: [Shape.show(part.shape), Shape.show(value.shape)],
        problem: "a gradient has the shape of its value",
        site: callSite(),
      })
    const parts = arrived.get(value)
    if (parts === undefined) arrived.set(value, [part as Value<Float>])
    else parts.push(part as Value<Float>)
  }

  for (const node of nodes.toReversed()) {
    const given = node.outputs.map(complete)
    if (given.every((gradient) => gradient === undefined)) continue
    const rule = rules[node.op]
    if (rule === undefined)
      throw new OpUnsupported({ op: node.op, problem: "has no gradient", site: callSite() })
    const needs = node.inputs.map(isWanted)
    const parts = rule(node, given, needs)
    node.inputs.forEach((input, i) => {
      const part = parts[i]
      if (input !== undefined && part !== undefined && needs[i] === true) pass(input, part)
    })
  }
  return wrt.map((value) => (complete(value) ?? Ops.fullLike(value, 0)) as Value<D>)
}

/**
 * Runs `body` again in the backward pass instead of keeping what it computed (Chen et al. 2016, "Training Deep
 * Nets with Sublinear Memory Cost"): memory for time. `inputs` are all the values a gradient has to reach.
 *
 * So that the runtime does not find both runs to be the same expression, the second one's inputs depend on the
 * gradient that arrives: x + 0 dy, the same bits unless dy is already infinite or not a number.
 */
export const checkpoint = <D extends Float>(
  inputs: ReadonlyArray<Value<D>>,
  body: (inputs: ReadonlyArray<Value<D>>) => Value<D>,
): Value<D> =>
  withVjp(body(inputs), inputs, (dy, needs) => {
    const first = Ops.reshape(
      dy.shape.reduce<Value<D>>((value, _, axis) => Ops.slice(value, axis, 0, 1), dy),
      [],
    )
    const nothing = Ops.mul<Float>(first, 0) as Value<D>
    const again = inputs.map((input) => Ops.add<Float>(input, nothing) as Value<D>)
    const output = body(again)
    const scalar = Ops.reduceSum<Float>(Ops.mul<Float>(output, dy))
    const wanted = again.filter((_, i) => needs[i] === true)
    const found = gradients(scalar, wanted)
    let next = 0
    return inputs.map((_, i) => (needs[i] === true ? found[next++] : undefined))
  })
