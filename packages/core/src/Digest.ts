/**
 * SHA-256 digests: the identity of records, graphs and operators.
 *
 * A digest is written as 64 lowercase hexadecimal digits; in the journal it travels as its 32 bytes.
 */
import { hash } from "node:crypto"

import * as Schema from "effect/Schema"

import * as Canonical from "./Canonical.ts"

/** 64 lowercase hexadecimal digits. */
export const Digest = Schema.String.check(
  Schema.isPattern(/^[0-9a-f]{64}$/u, { expected: "a SHA-256 digest (64 hexadecimal digits)" }),
).pipe(Schema.brand("Digest"))

export type Digest = typeof Digest.Type

/** The digest of bytes, or of a string as UTF-8. */
export const ofBytes = (bytes: Uint8Array | string): Digest => hash("sha256", bytes, "hex") as Digest

/** The digest of a JSON value: independent of key order. */
export const ofJson = (value: Canonical.Json): Digest => ofBytes(Canonical.stringify(value))
