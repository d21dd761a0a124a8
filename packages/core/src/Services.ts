/**
 * Services that operators need: in the type of `run`, as values that a runtime can check, and as layers that give them.
 *
 * What `run` asks for is given by the operator's own `layer`, or it is named in `needs` and given by whoever runs the
 * graph. `Scope` is given to every call.
 */
import type * as Context from "effect/Context"
import type * as Layer from "effect/Layer"
import type * as Scope from "effect/Scope"

import type { Join } from "./internal/Union.ts"

/** The key of a service, such as `BlobStore`. */
export type Key = Context.Key<any, any>

export type Keys = ReadonlyArray<Key>

/** What the services of these keys are called in types. */
export type Of<Needs extends Keys> = Context.Service.Identifier<Needs[number]>

/** A layer of any type: what an operator brings. */
export type AnyLayer = Layer.Any

/** What nobody gives: neither the layer, nor who runs the graph. */
type Lacking<R, L extends AnyLayer, Needs extends Keys> =
  | Exclude<R, Layer.Success<L> | Of<Needs> | Scope.Scope>
  | Exclude<Layer.Services<L>, Of<Needs>>

type KeyOf<S> = S extends { readonly key: infer Id extends string } ? Id : "of a type without a key"

type IsAny<T> = 0 extends 1 & T ? true : false

/**
 * The type of options that the compiler has not inferred as a whole. It does so in two rounds, and the first leaves out
 * what needs context, such as a layer made inline: needs are judged in the second.
 */
export interface Unseen {
  readonly "~unseen": true
}

/** Infers the type of options as a whole, and is met by any. */
export type Seen<Whole> = [Whole] extends [never] ? Whole : unknown

/**
 * The name of an operator whose needs are met; otherwise the message that the compiler shows in its place. `R` is what
 * `run` needs, `L` its layer, `Needs` what is declared, `Whole` the type of all options.
 */
export type Met<Name extends string, R, L extends AnyLayer, Needs extends Keys, Whole> = [Whole] extends [
  Unseen,
]
  ? Name
  : IsAny<R> extends true
    ? Name
    : [Lacking<R, L, Needs>] extends [never]
      ? Name
      : `${Name} needs the service ${Join<KeyOf<Lacking<R, L, Needs>>>}: name it in needs: [...], or bring a layer that gives it`
