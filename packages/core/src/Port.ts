/**
 * Ports: what travels on an edge. A record (an Effect `Schema`) and the specs of the tensors behind it.
 *
 * Two ports connect when the record given has every field of the record taken, and every tensor taken is
 * given with the same dtype, a unifiable shape, and the same latent space, frame rate and colour range.
 */
import * as Schema from "effect/Schema"

import type * as Canonical from "./Canonical.ts"
import * as Digest from "./Digest.ts"
import type { Join } from "./internal/Union.ts"
import * as Tensor from "./Tensor.ts"

/** Tensor specs by the name of what they describe, such as `video`. */
export type Tensors = { readonly [name: string]: Tensor.Tensor }

/** A schema without services, whose encoded form is JSON. */
export type RecordSchema<A = any> = Schema.Codec<A, any>

/**
 * How a command line makes records of this port from files. Without it, records are read from JSON, NDJSON
 * or Parquet files.
 */
export interface FileSource<A> {
  /** Globs are filtered by these lowercase extensions when a folder is given: `[".mp4", ".mkv"]`. */
  readonly extensions: ReadonlyArray<string>
  readonly mediaType: string
  /** The record of one file. `file` is the artifact that the store made of it, `name` its base name. */
  readonly record: (file: FileArtifact, name: string) => A
}

/** The digest and size under which a store knows a file. */
export interface FileArtifact {
  readonly _tag: "Artifact"
  readonly sha256: string
  readonly bytes: number
  readonly mediaType: string
}

export interface Port<out Name extends string, out A, out T extends Tensors> {
  readonly name: Name
  readonly record: RecordSchema<A>
  readonly tensors: T
  readonly files: FileSource<any> | undefined
}

export type Any = Port<string, any, Tensors>

/** The record type of a port. */
export type RecordOf<P extends Any> = P extends Port<string, infer A, Tensors> ? A : never

/** Makes a port. */
export const make = <const Name extends string, A, const T extends Tensors = {}>(
  name: Name,
  options: {
    readonly record: RecordSchema<A>
    readonly tensors?: T
    readonly files?: FileSource<NoInfer<A>>
  },
): Port<Name, A, T> => ({
  name,
  record: options.record,
  tensors: options.tensors ?? ({} as T),
  files: options.files,
})

/** `Clip (u8 [120, 3, 720, 1280] in pixels)`, for the compiler. */
export type Show<P extends Any> =
  P extends Port<infer Name, any, infer T>
    ? keyof T extends never
      ? Name
      : `${Name} (${ShowTensors<T>})`
    : "?"

type ShowTensors<T extends Tensors> = Join<{ [K in keyof T]: Tensor.Show<T[K]> }[keyof T]>

/** `"video is missing"`, `"video differs in dtype"`; `never` when every tensor taken is given and fits. */
type TensorNote<Given extends Tensors, Taken extends Tensors> = {
  [K in keyof Taken & string]: K extends keyof Given
    ? [Tensor.Mismatch<Given[K], Taken[K]>] extends [never]
      ? never
      : `${K} differs in ${Join<Tensor.Mismatch<Given[K], Taken[K]>>}`
    : `tensor ${K} is missing`
}[keyof Taken & string]

/** `"field seconds is missing"`, `"field seconds has another type"`; `never` when every field taken is given and fits. */
type FieldNote<Given, Taken> = {
  [K in keyof Taken & string]: K extends keyof Given
    ? Given[K] extends Taken[K]
      ? never
      : `field ${K} has another type`
    : undefined extends Taken[K]
      ? never
      : `field ${K} is missing`
}[keyof Taken & string]

/** Why two ports do not connect, for the compiler. */
type Note<Given, GivenTensors extends Tensors, Taken, TakenTensors extends Tensors> =
  | TensorNote<GivenTensors, TakenTensors>
  | FieldNote<Given, Taken> extends infer Found extends string
  ? [Found] extends [never]
    ? "the record differs"
    : Join<Found>
  : never

/** `unknown` when an edge carrying `Given` may feed `Taken`; otherwise the message that the compiler shows. */
export type Accepts<From extends string, Given extends Any, To extends string, Taken extends Any> =
  Given extends Port<string, infer GA, infer GT>
    ? Taken extends Port<string, infer TA, infer TT>
      ? [[GA] extends [TA] ? never : "record", TensorNote<GT, TT>] extends [never, never]
        ? unknown
        : `edge ${From} -> ${To}: ${To} takes ${Show<Taken>}, but this edge carries ${Show<Given>}; ${Note<GA, GT, TA, TT>}`
      : never
    : never

/** The serialised form of a port: its name, the digest of its record's JSON schema, and its tensors. */
export const PortJson = Schema.Struct({
  name: Schema.String,
  record: Digest.Digest,
  tensors: Schema.Record(Schema.String, Tensor.Tensor),
}).annotate({ identifier: "Port" })

export interface PortJson extends Schema.Schema.Type<typeof PortJson> {}

const recordDigests = new WeakMap<RecordSchema, Digest.Digest>()

/**
 * The digest of the JSON schema of a record. Two schemas of one digest have the same fields of the same JSON
 * types; checks that JSON schema cannot express (a filter function) are not part of it.
 */
export const recordDigest = (record: RecordSchema): Digest.Digest => {
  let digest = recordDigests.get(record)
  if (digest === undefined) {
    digest = Digest.ofJson(Schema.toJsonSchemaDocument(record) as unknown as Canonical.Json)
    recordDigests.set(record, digest)
  }
  return digest
}

export const toJson = (port: Any): PortJson => ({
  name: port.name,
  record: recordDigest(port.record),
  tensors: port.tensors,
})
