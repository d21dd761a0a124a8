/**
 * An artifact is a blob by its content: the field by which a record refers to bytes in the store.
 *
 * Records are JSON. Whoever has to know which blobs a record needs (the engine, garbage collection, lineage)
 * scans the encoded record for `_tag: "Artifact"` with {@link artifactsIn} and never needs the record's schema.
 */
import * as Schema from "effect/Schema"

const sha256Pattern = /^[0-9a-f]{64}$/

/** A sha256 digest in 64 lower-case hexadecimal digits. */
export const Sha256 = Schema.String.check(
  Schema.isPattern(sha256Pattern, { expected: "a sha256 digest in 64 lower-case hexadecimal digits" }),
)

/** True for 64 lower-case hexadecimal digits: the only names that may become a path or key of the store. */
export const isSha256 = (value: unknown): value is string =>
  typeof value === "string" && sha256Pattern.test(value)

/** A blob: its sha256, its length in bytes and its IANA media type (`video/mp4`). */
export const Artifact = Schema.Struct({
  _tag: Schema.tag("Artifact"),
  sha256: Sha256,
  bytes: Schema.Int.check(Schema.isGreaterThanOrEqualTo(0)),
  mediaType: Schema.NonEmptyString,
})
export type Artifact = typeof Artifact.Type

const isArtifact = (value: object): value is Artifact =>
  "_tag" in value &&
  value._tag === "Artifact" &&
  "sha256" in value &&
  isSha256(value.sha256) &&
  "bytes" in value &&
  typeof value.bytes === "number" &&
  Number.isSafeInteger(value.bytes) &&
  value.bytes >= 0 &&
  "mediaType" in value &&
  typeof value.mediaType === "string"

/**
 * Every artifact inside encoded JSON, in order of appearance, once per sha256.
 *
 * Descends into arrays and objects but not into an artifact, and has its own stack, so that depth is bounded
 * by memory only. Something tagged `Artifact` that is not well-formed is looked into like any other object.
 */
export const artifactsIn = (json: unknown): ReadonlyArray<Artifact> => {
  const found = new Map<string, Artifact>()
  const pending: Array<unknown> = [json]
  while (pending.length > 0) {
    const value = pending.pop()
    if (typeof value !== "object" || value === null) continue
    if (!Array.isArray(value) && isArtifact(value)) {
      if (!found.has(value.sha256)) found.set(value.sha256, value)
      continue
    }
    const children: ReadonlyArray<unknown> = Array.isArray(value) ? value : Object.values(value)
    // Pushed backwards so that the first child is popped first.
    for (let index = children.length - 1; index >= 0; index--) pending.push(children[index])
  }
  return [...found.values()]
}
