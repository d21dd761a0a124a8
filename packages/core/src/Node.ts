/** Nodes: an operator with its params, ready to be wired. Calling an operator makes one; `pipe` wires it. */
import type * as Canonical from "./Canonical.ts"
import type * as Edge from "./Edge.ts"
import type * as Operator from "./Operator.ts"
import * as Params from "./Params.ts"
import type * as Port from "./Port.ts"

/** The output of operators that give the records they take. */
export type Same = "same"

export interface Node<
  out Name extends string,
  out In extends Port.Any,
  out Out extends Port.Any | Same,
  S extends Operator.Sides,
  out R = never,
> {
  readonly id: Name
  readonly operator: Operator.Any
  /** Params with defaults filled in, in their JSON form. */
  readonly params: Canonical.Json
  /** Params as `run` takes them. */
  readonly value: unknown
  readonly sides: { readonly [name: string]: Edge.Any }
  /** For the compiler alone: no such property exists. */
  readonly "~types": { readonly input: In; readonly output: Out; readonly sides: S; readonly needs: R }
  /** The same node under another name: needed when one graph uses an operator twice. */
  as<const Id extends string>(id: Id): Node<Id, In, Out, S, R>
  /** The same node with its side inputs wired. */
  with<const Given extends { readonly [side: string]: unknown }>(
    sides: Wired<Name, S, Given>,
  ): Node<Name, In, Out, {}, R | Edge.NeedsOf<Given[keyof Given]>>
}

/** The edges given to `with` when they fit; in the place of one that does not, the message that the compiler shows. */
type Wired<Name extends string, S extends Operator.Sides, Given> = {
  readonly [K in keyof Given]: K extends keyof S
    ? unknown extends Edge.Into<Given[K], `${Name}.${K & string}`, S[K]["port"]>
      ? Given[K]
      : Edge.Into<Given[K], `${Name}.${K & string}`, S[K]["port"]>
    : `${Name} has no side input ${K & string}`
} & { readonly [K in keyof S]: unknown }

export type Any = Node<string, Port.Any, Port.Any | Same, any, unknown>

interface Parts {
  readonly id: string
  readonly operator: Operator.Any
  readonly params: Canonical.Json
  readonly value: unknown
  readonly sides: { readonly [name: string]: Edge.Any }
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
