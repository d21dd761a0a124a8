/** The ways in which a call fails. A failure is recorded with its item, and the run goes on. */
import { Secrets } from "@reelgraph/core"
import { JournalError } from "@reelgraph/store"
import * as Cause from "effect/Cause"
import * as Schema from "effect/Schema"

/** A call took longer than its operator's `timeoutMs`. */
export class CallTimeout extends Schema.TaggedError<CallTimeout>()("CallTimeout", {
  node: Schema.String,
  timeoutMs: Schema.Finite,
}) {
  override get message() {
    return `${this.node} took longer than ${this.timeoutMs} ms; raise the operator's timeoutMs if such items are expected`
  }
}

/** A worker process ended during a call: it crashed, ran out of memory, or was killed. */
export class WorkerLost extends Schema.TaggedError<WorkerLost>()("WorkerLost", {
  node: Schema.String,
  how: Schema.String,
}) {
  override get message() {
    return `the worker running ${this.node} ended during the call (${this.how})`
  }
}

/** An operator gave something that its output port does not allow. */
export class OutputInvalid extends Schema.TaggedError<OutputInvalid>()("OutputInvalid", {
  node: Schema.String,
  problem: Schema.String,
}) {
  override get message() {
    return `${this.node} gave a record that its output port does not allow: ${this.problem}`
  }
}

/** A stored record is not what the input port asks for. */
export class InputInvalid extends Schema.TaggedError<InputInvalid>()("InputInvalid", {
  node: Schema.String,
  problem: Schema.String,
}) {
  override get message() {
    return `${this.node} was given a record that its input port does not allow: ${this.problem}`
  }
}

/** An operator's `run` gave something that is no Effect. */
export class NotAnEffect extends Schema.TaggedError<NotAnEffect>()("NotAnEffect", {
  node: Schema.String,
  given: Schema.String,
}) {
  override get message() {
    const advice =
      this.given === "a Promise"
        ? "wrap it: Effect.tryPromise(() => ...)"
        : "return one, such as Effect.succeed(value) or Effect.sync(() => ...)"
    return `run of ${this.node} gave ${this.given} instead of an Effect; ${advice}`
  }
}

/** A worker has other code of the operator than the run that asked for the call. */
export class CodeChanged extends Schema.TaggedError<CodeChanged>()("CodeChanged", {
  node: Schema.String,
  operator: Schema.String,
}) {
  override get message() {
    return `the code of ${this.operator} that a worker of ${this.node} loaded is not the one that this run began with: it was edited since, or another version is installed there; run again`
  }
}

/** A failure as the journal keeps it. */
export interface Failure {
  /** Tag of the error; `Defect` when an operator threw. */
  readonly tag: string
  readonly message: string
  readonly retryable: boolean
  /**
   * Whether it is of the store as a whole: then it is not recorded with the item, and the run ends.
   * @default false
   */
  readonly endsRun?: boolean
}

/** What is recorded of a message at most, in UTF-16 code units. */
const longest = 2000

/** A message as it is recorded: shortened, without the secrets of URLs. */
const recorded = (message: string): string => Secrets.masked(message.slice(0, 2 * longest)).slice(0, longest)

/** What a value without a message is: of a record its JSON. */
const described = (value: unknown): string => {
  try {
    return (typeof value === "object" ? JSON.stringify(value) : undefined) ?? String(value)
  } catch {
    return "a value that cannot be shown"
  }
}

/** A property of an error of others: reading one may throw, of a getter as of a proxy. It counts as not there then. */
const read = (error: unknown, name: string): unknown => {
  if ((typeof error !== "object" && typeof error !== "function") || error === null) return undefined
  try {
    return (error as { readonly [name: string]: unknown })[name]
  } catch {
    return undefined
  }
}

const messageOf = (error: unknown): string | undefined => {
  const message = read(error, "message")
  return typeof message === "string" && message !== "" ? message : undefined
}

const isAnError = (value: unknown): boolean => {
  try {
    return value instanceof Error
  } catch {
    return false
  }
}

/** Whether an error is a plain record or a list, which is described by its JSON. */
const isPlain = (error: object): boolean => {
  try {
    const prototype: unknown = Object.getPrototypeOf(error)
    return prototype === Object.prototype || prototype === null || Array.isArray(error)
  } catch {
    return false
  }
}

const retryableTags = new Set(["CallTimeout", "WorkerLost"])

/** How many causes of causes are looked at. */
const deepest = 5

const fullDisk = new Set(["ENOSPC", "EDQUOT"])

/**
 * Whether an error, or what it was caused by, is of the store as a whole, such as an expired token. A disk that an
 * operator finds full in its scratch folder is that of the store.
 */
const isOfStore = (error: unknown, depth = 0): boolean => {
  if (typeof error !== "object" || error === null || depth >= deepest) return false
  const code = read(error, "code")
  return (
    read(error, "endsRun") === true ||
    (typeof code === "string" && fullDisk.has(code)) ||
    isOfStore(read(error, "cause"), depth + 1)
  )
}

const endsRun = (error: unknown): Pick<Failure, "endsRun"> => (isOfStore(error) ? { endsRun: true } : {})

const isRetryable = (error: object): boolean => read(error, "retryable") === true

/** The message of what an operator threw, which may be anything. */
const thrown = (defect: unknown): string => {
  if (!isAnError(defect)) return described(defect)
  const message = read(defect, "message")
  return typeof message === "string" ? message : "an error whose message cannot be read"
}

/** What went wrong in a call, from the cause of its exit. */
export const fromCause = (cause: Cause.Cause<unknown>): Failure => {
  for (const reason of cause.reasons) {
    if (reason._tag === "Fail") return fromError(reason.error)
    if (reason._tag === "Die") {
      const ends = endsRun(reason.defect)
      return { tag: "Defect", message: recorded(thrown(reason.defect)), retryable: false, ...ends }
    }
  }
  return { tag: "Interrupted", message: "the call was interrupted", retryable: true }
}

/** What is not the fault of an item and ends the run: a journal that cannot be read. */
export const ending = (cause: Cause.Cause<unknown>): JournalError | undefined => {
  for (const reason of cause.reasons)
    if (reason._tag === "Die" && isAnError(reason.defect) && reason.defect instanceof JournalError)
      return reason.defect
  return undefined
}

/** What a worker reports of a call is a failure already: plain data. */
const failureIn = (error: object): Failure | undefined => {
  const [tag, message, retryable] = ["tag", "message", "retryable"].map((name) => read(error, name))
  return typeof tag === "string" &&
    typeof message === "string" &&
    typeof retryable === "boolean" &&
    read(error, "_tag") === undefined
    ? { tag, message, retryable, ...(read(error, "endsRun") === true ? { endsRun: true } : {}) }
    : undefined
}

/** A failure from the error that an operator, or a worker, failed with. */
export const fromError = (error: unknown): Failure => {
  if (typeof error !== "object" || error === null)
    return { tag: "Error", message: recorded(described(error)), retryable: false }
  const reported = failureIn(error)
  if (reported !== undefined) return reported
  const isRecord = isPlain(error)
  const [ownTag, name] = [read(error, "_tag"), read(read(error, "constructor"), "name")]
  const tag =
    typeof ownTag === "string"
      ? ownTag
      : !isRecord && typeof name === "string" && name !== ""
        ? name
        : "Error"
  const message = messageOf(error) ?? (isRecord ? described(error) : tag)
  return {
    tag,
    message: recorded(message),
    retryable: retryableTags.has(tag) || isRetryable(error),
    ...endsRun(error),
  }
}
