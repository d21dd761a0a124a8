/** The graph that the engine is measured with: five operators that each add a field to records of about 200 bytes. */
import { openSync, writeSync } from "node:fs"

import { Graph, Operator, Port } from "@reelgraph/core"
import * as Effect from "effect/Effect"
import * as Schema from "effect/Schema"
import * as Stream from "effect/Stream"

const Row = Port.make("Row", {
  record: Schema.Struct({
    id: Schema.Int,
    source: Schema.String,
    caption: Schema.String,
    one: Schema.optionalKey(Schema.Int),
    two: Schema.optionalKey(Schema.Int),
    three: Schema.optionalKey(Schema.Int),
    four: Schema.optionalKey(Schema.Int),
    five: Schema.optionalKey(Schema.Int),
  }),
})

export interface Variant {
  /** A file to which every call appends a line of {@link lineBytes} bytes: node and item. */
  readonly log?: string
  /** The third operator gets a new version, and gives something else. */
  readonly edited?: boolean
  /** One item in a hundred fails in the second operator. */
  readonly poison?: boolean
}

export const lineBytes = 10

export const graph = ({ edited = false, log, poison = false }: Variant): Graph.Graph => {
  const file = log === undefined ? undefined : openSync(log, "a")
  const step = (name: "one" | "two" | "three" | "four" | "five", index: number) => {
    // What `run` captures is part of what its results are known by: of each operator its own.
    const isEdited = edited && name === "three"
    const isPoisoned = poison && name === "two"
    return Operator.map(name, {
      version: isEdited ? "1.1.0" : "1.0.0",
      input: Row,
      output: Row,
      run: (row) => {
        if (file !== undefined) writeSync(file, `${index} ${String(row.id).padStart(7, "0")}\n`)
        return isPoisoned && row.id % 100 === 0
          ? Effect.fail(new Error("poison"))
          : Effect.succeed({ ...row, [name]: row.id + index + (isEdited ? 1000 : 0) })
      },
    })()
  }
  return Graph.make("bench", { version: "1.0.0" }, (g) => {
    const rows = g.input("in", Row)
    return {
      out: rows.pipe(step("one", 0), step("two", 1), step("three", 2), step("four", 3), step("five", 4)),
    }
  })
}

const caption = "a slow pan over a harbour at dawn, fishing boats leaving, gulls above the water, soft light"

export const rows = (count: number) =>
  Stream.range(0, count - 1).pipe(
    Stream.map((id) => ({ id, source: `s3://bench/videos/part-${id % 64}/${id}.mp4`, caption })),
  )
