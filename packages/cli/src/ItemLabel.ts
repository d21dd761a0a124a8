/** What to call an item when talking to a person: the name in its record, or in the record it was made from. */
import { artifactsIn, type Journal } from "@reelgraph/store"

import * as Format from "./Format.ts"

const nameFields = ["name", "file", "path", "title", "id", "prompt", "caption", "text", "label"]

/** The name that a record gives itself: the first telling text field, outer ones before inner ones. */
export const nameIn = (record: unknown): string | undefined => {
  let level: ReadonlyArray<unknown> = [record]
  for (let depth = 0; depth < 3 && level.length > 0; depth++) {
    for (const value of level) {
      if (typeof value !== "object" || value === null || Array.isArray(value)) continue
      for (const field of nameFields) {
        const text = (value as Record<string, unknown>)[field]
        if (typeof text === "string" && text.trim() !== "") return Format.cut(Format.line(text), 60)
      }
    }
    level = level.flatMap((value) =>
      typeof value === "object" && value !== null && !Array.isArray(value) ? Object.values(value) : [],
    )
  }
  return undefined
}

type Reader = typeof Journal.Service

const recordOf = (journal: Reader, item: number): unknown => {
  const stored = journal.item(item)
  return stored === undefined ? undefined : JSON.parse(stored.record)
}

/** The name of an item, or of the nearest one above it that has a name. */
export const nameOf = (journal: Reader, item: number): string | undefined => {
  let current = item
  for (let hops = 0; hops < 32; hops++) {
    const name = nameIn(recordOf(journal, current))
    if (name !== undefined) return name
    const parent = journal
      .producers(current)
      .flatMap(({ inputs }) => inputs)
      .find((input) => input !== current)
    if (parent === undefined) return undefined
    current = parent
  }
  return undefined
}

/** `talk.mp4`, or the digest of an artifact or of the item itself. */
export const of = (journal: Reader, item: number): string => {
  const name = nameOf(journal, item)
  if (name !== undefined) return name
  const stored = journal.item(item)
  if (stored === undefined) return `item ${item}`
  const members = journal.members(item)
  if (members !== undefined) return `all ${Format.counted(members.length, "item")}`
  const [artifact] = artifactsIn(JSON.parse(stored.record))
  return artifact === undefined
    ? Format.short(stored.digest)
    : `${artifact.mediaType} ${Format.short(artifact.sha256)}`
}
