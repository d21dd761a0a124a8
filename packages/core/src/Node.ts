/** Nodes: an operator with its params, ready to be wired. Calling an operator makes one; `pipe` wires it. */
import type * as Canonical from "./Canonical.ts"
import type * as Operator from "./internal/operatorFacts.ts"
import type { AnyEdge } from "./internal/wiring.ts"
import * as Params from "./Params.ts"

export type { AnyNode as Any, Node, Same } from "./internal/wiring.ts"

interface Parts {
  readonly id: string
  readonly operator: Operator.Any
  readonly params: Canonical.Json
  readonly value: unknown
  readonly sides: { readonly [name: string]: AnyEdge }
}

const fromParts = (parts: Parts): any => ({
  ...parts,
  as: (id: string) => fromParts({ ...parts, id }),
  with: (sides: Parts["sides"]) => fromParts({ ...parts, sides }),
})

/**
 * The node of an operator with params as a person gives them.
 *
 * @throws ParamsInvalid
 */
export const make = (operator: Operator.Any, params: unknown): any => {
  const { json, value } = Params.resolve(operator, params)
  return fromParts({ id: operator.name, operator, params: json, value, sides: {} })
}
