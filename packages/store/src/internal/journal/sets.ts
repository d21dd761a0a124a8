/**
 * Sets: the items that stand for all that a `collect` or a side input of many took. The digest of a set is that of its
 * members, so it is never the digest of a record, and its record shows their number to people alone. A side input may
 * take one item several times: then the set has it so often.
 */
import { createHash } from "node:crypto"

const sha256 = (text: string): string => createHash("sha256").update(text).digest("hex")

/** The digest of a set, of the digests of its members in any order. */
export const digestOf = (members: ReadonlyArray<string>): string =>
  sha256(`reelgraph/set\n${[...members].sort().join("\n")}`)

/** Writes how often a set has a member, by the row ids of both. */
export const insertMember = `INSERT INTO set_members(set_id, item, times) VALUES(?,?,?)
  ON CONFLICT DO UPDATE SET times = excluded.times WHERE times <> excluded.times`

/** What stands in the place of a record. */
export const recordOf = (size: number): string => `{"_tag":"Set","size":${size}}`

const pattern = /^\{"_tag":"Set","size":(0|[1-9]\d{0,14})\}$/

/** Whether a record is the one its digest (hex) is of. */
export const isRecord = (digest: string, record: string): boolean => sha256(record) === digest

/** How many members a set has; undefined of a record, also of one that looks like it. */
export const sizeOf = (digest: string, record: string): number | undefined => {
  const size = pattern.exec(record)?.[1]
  return size === undefined || isRecord(digest, record) ? undefined : Number(size)
}
