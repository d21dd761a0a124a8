/**
 * The key of a run: what a driver and the workers of its jobs know, and nobody else who can write the store. Objects
 * that carry calls, assignments or results begin with a seal, the HMAC-SHA-256 of their name and their bytes under that key:
 *
 *     reelgraph-seal-1 <64 hexadecimal digits>\n<bytes>
 *
 * So what somebody else wrote, what was changed or cut short, what is of another run, and the bytes of one object under
 * the name of another are all refused before anything of them is read. The key goes to jobs in their batch script, which
 * sbatch takes from its standard input. It is never in the store, in arguments, in logs or in lineage.
 */
import { createHmac, randomBytes, timingSafeEqual } from "node:crypto"

import * as Effect from "effect/Effect"
import * as Redacted from "effect/Redacted"
import * as Schema from "effect/Schema"

export type RunKey = Redacted.Redacted

/** Environment variable by which a worker is given the key. */
export const variable = "REELGRAPH_RUN_KEY"

/** An object that no one with the key of the run has written, or not as it is now. */
export class ObjectRefused extends Schema.TaggedError<ObjectRefused>()("ObjectRefused", {
  name: Schema.String,
  problem: Schema.String,
}) {
  override get message() {
    return `object ${this.name} was refused: ${this.problem}; whoever writes the store can do this, and nothing of it was used`
  }
}

const pattern = /^[0-9a-f]{64}$/u

/** A new key. */
export const make = (): RunKey => Redacted.make(randomBytes(32).toString("hex"), { label: "run key" })

/** A key as it was given; undefined: that is none. */
export const parse = (text: string): RunKey | undefined =>
  pattern.test(text) ? Redacted.make(text, { label: "run key" }) : undefined

const magic = "reelgraph-seal-1 "
/** Length of a seal. */
export const sealBytes: number = magic.length + 64 + 1

const digest = (key: RunKey, name: string, bytes: Uint8Array): Buffer => {
  const named = Buffer.from(name, "utf8")
  const length = Buffer.alloc(4)
  length.writeUInt32BE(named.length)
  return createHmac("sha256", Buffer.from(Redacted.value(key), "hex"))
    .update(length)
    .update(named)
    .update(bytes)
    .digest()
}

/** Bytes of an object of this name, with their seal. */
export const seal = (key: RunKey, name: string, bytes: Uint8Array): Uint8Array =>
  Buffer.concat([Buffer.from(`${magic}${digest(key, name, bytes).toString("hex")}\n`), bytes])

/** What was sealed under this name. */
export const open = (
  key: RunKey,
  name: string,
  sealed: Uint8Array,
): Effect.Effect<Uint8Array, ObjectRefused> =>
  Effect.suspend(() => {
    const head = Buffer.from(sealed.subarray(0, sealBytes)).toString("latin1")
    const given = head.slice(magic.length, -1)
    if (!head.startsWith(magic) || !head.endsWith("\n") || !pattern.test(given))
      return Effect.fail(new ObjectRefused({ name, problem: "it has no seal" }))
    const bytes = sealed.subarray(sealBytes)
    return timingSafeEqual(Buffer.from(given, "hex"), digest(key, name, bytes))
      ? Effect.succeed(bytes)
      : Effect.fail(
          new ObjectRefused({
            name,
            problem: "its seal is not that of this run: it is damaged, or of another run, place or author",
          }),
        )
  })
