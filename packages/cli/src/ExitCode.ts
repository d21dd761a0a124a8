/** How a command ended, as its exit code and as what is said of it. */
import * as Cause from "effect/Cause"
import * as Schema from "effect/Schema"

export const done = 0
export const failed = 1
export const usage = 2
export const withFailures = 3
export const interrupted = 130
/** Its terminal has gone, or it was sent SIGHUP. */
export const hungUp = 129

/** Ends a command that has said everything with a code. */
export class Ended extends Schema.TaggedError<Ended>()("Ended", { exitCode: Schema.Int }) {
  override get message() {
    return `ended with ${this.exitCode}`
  }
}

/** What is said of an error, and its code. A defect is our fault unless it is an error of the journal. */
export interface Told {
  readonly exitCode: number
  readonly tag: string
  readonly message: string
}

/** The code and the words for what ended a command; nothing when it has said everything itself. */
export const ofCause = (cause: Cause.Cause<unknown>): Told | number => {
  if (Cause.hasInterruptsOnly(cause)) return interrupted
  const error = Cause.squash(cause)
  if (error instanceof Ended) return error.exitCode
  if (typeof error !== "object" || error === null)
    return { exitCode: failed, tag: "Error", message: String(error) }
  const message =
    "message" in error && typeof error.message === "string" && error.message !== ""
      ? error.message
      : "it gave no reason"
  if ("_tag" in error && typeof error._tag === "string") {
    const exitCode = "exitCode" in error && typeof error.exitCode === "number" ? error.exitCode : failed
    return { exitCode, tag: error._tag, message }
  }
  return {
    exitCode: failed,
    tag: "Defect",
    message: `this should not have happened: ${message}\n${error instanceof Error ? (error.stack ?? "") : ""}`,
  }
}
