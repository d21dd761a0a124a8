/**
 * Edges: what flows from an input or a node to others. `pipe` wires nodes in a row; a wrong connection does
 * not compile, and the compiler's message names the edge and both ports.
 */
import type { Join } from "./internal/Union.ts"
import type * as Node from "./Node.ts"
import type * as Port from "./Port.ts"

/** `R` are the services that the nodes before it need. */
export interface Edge<out P extends Port.Any, out From extends string, out R = never> {
  /** Name of the input or node that gives the items. */
  readonly from: From
  readonly port: P
  /** The builder that made this edge: edges of different graphs do not mix. */
  readonly graph: symbol
  /** For the compiler alone: no such property exists. */
  readonly "~needs": R

  pipe<A extends Node.Any>(a: Fits<P, From, A>): Edge<Out<P, A>, A["id"], R | Needs<A>>
  pipe<A extends Node.Any, B extends Node.Any>(
    a: Fits<P, From, A>,
    b: Fits<Out<P, A>, A["id"], B>,
  ): Edge<Out<Out<P, A>, B>, B["id"], R | Needs<A | B>>
  pipe<A extends Node.Any, B extends Node.Any, C extends Node.Any>(
    a: Fits<P, From, A>,
    b: Fits<Out<P, A>, A["id"], B>,
    c: Fits<Out<Out<P, A>, B>, B["id"], C>,
  ): Edge<Out<Out<Out<P, A>, B>, C>, C["id"], R | Needs<A | B | C>>
  pipe<A extends Node.Any, B extends Node.Any, C extends Node.Any, D extends Node.Any>(
    a: Fits<P, From, A>,
    b: Fits<Out<P, A>, A["id"], B>,
    c: Fits<Out<Out<P, A>, B>, B["id"], C>,
    d: Fits<Out<Out<Out<P, A>, B>, C>, C["id"], D>,
  ): Edge<Out<Out<Out<Out<P, A>, B>, C>, D>, D["id"], R | Needs<A | B | C | D>>
  pipe<A extends Node.Any, B extends Node.Any, C extends Node.Any, D extends Node.Any, E extends Node.Any>(
    a: Fits<P, From, A>,
    b: Fits<Out<P, A>, A["id"], B>,
    c: Fits<Out<Out<P, A>, B>, B["id"], C>,
    d: Fits<Out<Out<Out<P, A>, B>, C>, C["id"], D>,
    e: Fits<Out<Out<Out<Out<P, A>, B>, C>, D>, D["id"], E>,
  ): Edge<Out<Out<Out<Out<Out<P, A>, B>, C>, D>, E>, E["id"], R | Needs<A | B | C | D | E>>
  pipe<
    A extends Node.Any,
    B extends Node.Any,
    C extends Node.Any,
    D extends Node.Any,
    E extends Node.Any,
    F extends Node.Any,
  >(
    a: Fits<P, From, A>,
    b: Fits<Out<P, A>, A["id"], B>,
    c: Fits<Out<Out<P, A>, B>, B["id"], C>,
    d: Fits<Out<Out<Out<P, A>, B>, C>, C["id"], D>,
    e: Fits<Out<Out<Out<Out<P, A>, B>, C>, D>, D["id"], E>,
    f: Fits<Out<Out<Out<Out<Out<P, A>, B>, C>, D>, E>, E["id"], F>,
  ): Edge<Out<Out<Out<Out<Out<Out<P, A>, B>, C>, D>, E>, F>, F["id"], R | Needs<A | B | C | D | E | F>>
}

export type Any = Edge<Port.Any, string, unknown>

type TypesOf<N extends Node.Any> = N["~types"]

type Needs<N extends Node.Any> = TypesOf<N>["needs"]

/** The services that the nodes before an edge need. */
export type NeedsOf<E> = E extends { readonly "~needs": infer R } ? R : never

/** What an edge carries after a node: the node's output, or what came in when the node is a filter. */
type Out<P extends Port.Any, N extends Node.Any> = TypesOf<N>["output"] extends infer O extends Port.Any
  ? O
  : P

/**
 * The node itself when it may follow an edge; otherwise the message that the compiler shows. Not an
 * intersection of both: the compiler would print the node's type three times before the message.
 */
type Fits<
  P extends Port.Any,
  From extends string,
  N extends Node.Any,
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
