/**
 * Records to and from what the journal keeps: the schema's JSON form, canonical, with its digest and the blobs
 * that it names.
 *
 * Records are values: what an operator is given is always read from that JSON, each time anew. So it is the same whether
 * it was just made or cached, and nobody sees what another does to it.
 */
import { Canonical, Digest, type Port } from "@reelgraph/core"
import { artifactsIn, type NewItem } from "@reelgraph/store"
import * as Schema from "effect/Schema"
import type * as SchemaAST from "effect/SchemaAST"

export interface RecordCodec {
  /** @throws when the value is not what the schema describes */
  readonly encode: (value: unknown) => NewItem
  /** @throws when the JSON is not what the schema describes */
  readonly decode: (record: string) => unknown
  /** Whether values are their JSON: what is frozen cannot be changed. */
  readonly plain: boolean
  /** Whether records of this port may name blobs. */
  readonly hasArtifacts: boolean
}

const codecs = new WeakMap<Port.RecordSchema, RecordCodec>()

/** The codec of a port's record. */
export const of = (record: Port.RecordSchema): RecordCodec => {
  let codec = codecs.get(record)
  if (codec === undefined) codecs.set(record, (codec = make(record)))
  return codec
}

/** Whether values of a schema are their JSON: no classes, no transformations. */
export const isPlain = (ast: SchemaAST.AST, within: ReadonlySet<SchemaAST.AST> = new Set()): boolean => {
  if (within.has(ast)) return true
  if (ast.encoding !== undefined) return false
  const inner = new Set(within).add(ast)
  switch (ast._tag) {
    case "Declaration":
      return false
    case "Objects":
      return (
        ast.propertySignatures.every(({ type }) => isPlain(type, inner)) &&
        ast.indexSignatures.every(({ parameter, type }) => isPlain(parameter, inner) && isPlain(type, inner))
      )
    case "Arrays":
      return [...ast.elements, ...ast.rest].every((element) => isPlain(element, inner))
    case "Union":
      return ast.types.every((type) => isPlain(type, inner))
    case "Suspend":
      return isPlain(ast.thunk(), inner)
    default:
      return true
  }
}

const make = (record: Port.RecordSchema): RecordCodec => {
  const json = Schema.toCodecJson(record)
  const plain = isPlain(json.ast)
  const encode = Schema.encodeUnknownSync(json)
  const decode = Schema.decodeUnknownSync(json)
  const hasArtifacts = JSON.stringify(Schema.toJsonSchemaDocument(record)).includes('"Artifact"')
  return {
    encode: (value) => {
      const encoded = encode(value) as Canonical.Json
      const text = Canonical.stringify(encoded)
      return {
        digest: Digest.ofBytes(text),
        record: text,
        artifacts: hasArtifacts ? artifactsIn(encoded).map(({ sha256 }) => sha256) : [],
      }
    },
    decode: (text) => decode(JSON.parse(text)),
    plain,
    hasArtifacts,
  }
}
