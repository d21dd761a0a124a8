/** The end of a log that a task has written, or still writes. */
import { closeSync, fstatSync, openSync, readSync } from "node:fs"

export interface LogEnd {
  readonly text: string
  /** Whether that is all of it; if not, `text` may begin within a line. */
  readonly whole: boolean
}

/** At most so many bytes; undefined when it is not here, or may not be read. */
export const read = (file: string, bytesAtMost: number): LogEnd | undefined => {
  try {
    const opened = openSync(file, "r")
    try {
      const { size } = fstatSync(opened)
      const bytes = Buffer.alloc(Math.min(size, bytesAtMost))
      const read = readSync(opened, bytes, 0, bytes.length, size - bytes.length)
      return { text: bytes.toString("utf8", 0, read), whole: bytes.length === size }
    } finally {
      closeSync(opened)
    }
  } catch {
    return undefined
  }
}
