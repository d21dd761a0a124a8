/**
 * Calls on their way to the writer's thread and back: rows as arrays. Structured clones of objects carry the name
 * of every field of every row; at tens of thousands of calls a second that is a third of the cost.
 */
import type { CallRow, Committed, NewItem, Status } from "../../journal/Journal.ts"
import type { Request, Response } from "./JournalWriter.ts"

type Row = ReadonlyArray<unknown>

/** A request as it travels. */
export type Sent =
  | Exclude<Request, { readonly _tag: "Calls" }>
  | { readonly _tag: "Rows"; readonly run: number; readonly node: number; readonly rows: ReadonlyArray<Row> }

/** What comes back for each, before {@link receiveResponse}. */
export type Responses = { readonly [Tag in Sent["_tag"]]: unknown }

/** Fields before the outputs. */
const fields = 11

const rowOf = (row: CallRow): Row => {
  const {
    attempts,
    detail,
    drops,
    input,
    ms,
    operator,
    parents,
    place,
    reason,
    replaces,
    startedMs,
    status,
  } = row
  const sent: Array<unknown> = [
    input,
    operator,
    status,
    attempts,
    startedMs,
    ms,
    replaces,
    reason,
    detail,
    place,
  ]
  sent.push(parents === undefined && drops === undefined ? undefined : { parents, drops })
  for (const output of row.outputs) {
    if (typeof output === "number") sent.push(output)
    else sent.push(output.digest, output.record, output.artifacts.length === 0 ? undefined : output.artifacts)
  }
  return sent
}

const callOf = (sent: Row): CallRow => {
  const [input, operator, status, attempts, startedMs, ms, replaces, reason, detail, place, collected] = sent
  const outputs: Array<NewItem | number> = []
  for (let at = fields; at < sent.length; at++) {
    const first = sent[at]
    if (typeof first === "number") outputs.push(first)
    else {
      const artifacts = (sent[at + 2] as NewItem["artifacts"] | undefined) ?? []
      outputs.push({ digest: first as string, record: sent[at + 1] as string, artifacts })
      at += 2
    }
  }
  return {
    input: input as number,
    operator: operator as number,
    status: status as Status,
    attempts: attempts as number,
    startedMs: startedMs as number,
    ms: ms as number,
    outputs,
    ...(replaces === undefined ? {} : { replaces: replaces as number }),
    ...(reason === undefined ? {} : { reason: reason as string }),
    ...(detail === undefined ? {} : { detail: detail as string }),
    ...(place === undefined ? {} : { place: place as string }),
    ...(collected as Pick<CallRow, "parents" | "drops"> | undefined),
  }
}

export const send = (request: Request): Sent =>
  request._tag === "Calls"
    ? { _tag: "Rows", run: request.run, node: request.node, rows: request.rows.map(rowOf) }
    : request

export const receive = (sent: Sent): Request =>
  sent._tag === "Rows" ? { _tag: "Calls", run: sent.run, node: sent.node, rows: sent.rows.map(callOf) } : sent

/** What comes back for calls: for each its id, the status that it adopted, and its outputs. */
export const sendResponse = (request: Sent, value: Response[Request["_tag"]]): unknown =>
  request._tag === "Rows"
    ? (value as ReadonlyArray<Committed>).map(({ adopted, call, outputs }) => [call, adopted, ...outputs])
    : value

export const receiveResponse = (request: Request, value: unknown): Response[Request["_tag"]] =>
  request._tag === "Calls"
    ? (value as ReadonlyArray<ReadonlyArray<number | undefined>>).map(
        ([call, adopted, ...outputs]): Committed => ({
          call: call!,
          adopted,
          outputs: outputs as ReadonlyArray<number>,
        }),
      )
    : (value as Response[Request["_tag"]])
