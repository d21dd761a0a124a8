/** The types of nodes and edges: each is wired to the other. */
import type * as Canonical from "../Canonical.ts"
import type * as Port from "../Port.ts"
import type * as Operator from "./operatorFacts.ts"
import type { Join } from "./Union.ts"

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
  readonly sides: { readonly [name: string]: AnyEdge }
  /** For the compiler alone: no such property exists. */
  readonly "~types": { readonly input: In; readonly output: Out; readonly sides: S; readonly needs: R }
  /** The same node under another name: needed when one graph uses an operator twice. */
  as<const Id extends string>(id: Id): Node<Id, In, Out, S, R>
  /** The same node with its side inputs wired. */
  with<const Given extends { readonly [side: string]: unknown }>(
    sides: Wired<Name, S, Given>,
  ): Node<Name, In, Out, {}, R | NeedsOf<Given[keyof Given]>>
}

/** The edges given to `with` when they fit; in the place of one that does not, the message that the compiler shows. */
type Wired<Name extends string, S extends Operator.Sides, Given> = {
  readonly [K in keyof Given]: K extends keyof S
    ? unknown extends Into<Given[K], `${Name}.${K & string}`, S[K]["port"]>
      ? Given[K]
      : Into<Given[K], `${Name}.${K & string}`, S[K]["port"]>
    : `${Name} has no side input ${K & string}`
} & { readonly [K in keyof S]: unknown }

/** A node whose types are erased. */
export type AnyNode = Node<string, Port.Any, Port.Any | Same, any, unknown>

/** `R` are the services that the nodes before it need. */
export interface Edge<out P extends Port.Any, out From extends string, out R = never> {
  /** Name of the input or node that gives the items. */
  readonly from: From
  readonly port: P
  /** The builder that made this edge: edges of different graphs do not mix. */
  readonly graph: symbol
  /** For the compiler alone: no such property exists. */
  readonly "~needs": R

  pipe<A extends AnyNode>(a: Fits<P, From, A>): Edge<Out<P, A>, A["id"], R | Needs<A>>
  pipe<A extends AnyNode, B extends AnyNode>(
    a: Fits<P, From, A>,
    b: Fits<Out<P, A>, A["id"], B>,
  ): Edge<Out<Out<P, A>, B>, B["id"], R | Needs<A | B>>
  pipe<A extends AnyNode, B extends AnyNode, C extends AnyNode>(
    a: Fits<P, From, A>,
    b: Fits<Out<P, A>, A["id"], B>,
    c: Fits<Out<Out<P, A>, B>, B["id"], C>,
  ): Edge<Out<Out<Out<P, A>, B>, C>, C["id"], R | Needs<A | B | C>>
  pipe<A extends AnyNode, B extends AnyNode, C extends AnyNode, D extends AnyNode>(
    a: Fits<P, From, A>,
    b: Fits<Out<P, A>, A["id"], B>,
    c: Fits<Out<Out<P, A>, B>, B["id"], C>,
    d: Fits<Out<Out<Out<P, A>, B>, C>, C["id"], D>,
  ): Edge<Out<Out<Out<Out<P, A>, B>, C>, D>, D["id"], R | Needs<A | B | C | D>>
  pipe<A extends AnyNode, B extends AnyNode, C extends AnyNode, D extends AnyNode, E extends AnyNode>(
    a: Fits<P, From, A>,
    b: Fits<Out<P, A>, A["id"], B>,
    c: Fits<Out<Out<P, A>, B>, B["id"], C>,
    d: Fits<Out<Out<Out<P, A>, B>, C>, C["id"], D>,
    e: Fits<Out<Out<Out<Out<P, A>, B>, C>, D>, D["id"], E>,
  ): Edge<Out<Out<Out<Out<Out<P, A>, B>, C>, D>, E>, E["id"], R | Needs<A | B | C | D | E>>
  pipe<
    A extends AnyNode,
    B extends AnyNode,
    C extends AnyNode,
    D extends AnyNode,
    E extends AnyNode,
    F extends AnyNode,
  >(
    a: Fits<P, From, A>,
    b: Fits<Out<P, A>, A["id"], B>,
    c: Fits<Out<Out<P, A>, B>, B["id"], C>,
    d: Fits<Out<Out<Out<P, A>, B>, C>, C["id"], D>,
    e: Fits<Out<Out<Out<Out<P, A>, B>, C>, D>, D["id"], E>,
    f: Fits<Out<Out<Out<Out<Out<P, A>, B>, C>, D>, E>, E["id"], F>,
  ): Edge<Out<Out<Out<Out<Out<Out<P, A>, B>, C>, D>, E>, F>, F["id"], R | Needs<A | B | C | D | E | F>>
}

/** An edge whose types are erased. */
export type AnyEdge = Edge<Port.Any, string, unknown>

type TypesOf<N extends AnyNode> = N["~types"]

type Needs<N extends AnyNode> = TypesOf<N>["needs"]

/** The services that the nodes before an edge need. */
export type NeedsOf<E> = E extends { readonly "~needs": infer R } ? R : never

/** What an edge carries after a node: the node's output, or what came in when the node is a filter. */
type Out<P extends Port.Any, N extends AnyNode> = TypesOf<N>["output"] extends infer O extends Port.Any
  ? O
  : P

/**
 * The node itself when it may follow an edge; otherwise the message that the compiler shows. Not an
 * intersection of both: the compiler would print the node's type three times before the message.
 */
type Fits<
  P extends Port.Any,
  From extends string,
  N extends AnyNode,
> = keyof TypesOf<N>["sides"] extends never
  ? unknown extends Port.Accepts<From, P, N["id"], TypesOf<N>["input"]>
    ? N
    : Port.Accepts<From, P, N["id"], TypesOf<N>["input"]>
  : `${N["id"]} needs the side input ${Join<keyof TypesOf<N>["sides"] & string>}: give it with .with({ ... })`

/** `unknown` when an edge may feed the input `To` of port `P`; otherwise the message that the compiler shows. */
export type Into<E, To extends string, P extends Port.Any> =
  E extends Edge<infer Given, infer From, unknown>
    ? Port.Accepts<From, Given, To, P>
    : `${To} takes an edge: a graph input, or what pipe returns`
