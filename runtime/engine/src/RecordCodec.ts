/**
 * Records to and from what the journal keeps: the schema's JSON form, canonical, with its digest and the blobs
 * that it names.
 */
import { Canonical, Digest, type Port } from "@reelgraph/core"
import { artifactsIn, type NewItem } from "@reelgraph/store"
import * as Schema from "effect/Schema"

export interface RecordCodec {
  /** @throws when the value is not what the schema describes */
  readonly encode: (value: unknown) => NewItem
  /** @throws when the JSON is not what the schema describes */
  readonly decode: (record: string) => unknown
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

const make = (record: Port.RecordSchema): RecordCodec => {
  const json = Schema.toCodecJson(record)
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
    hasArtifacts,
  }
}
