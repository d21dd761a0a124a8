/**
 * The records that `--input` stands for: one for each file where the port says how a file becomes a record,
 * otherwise the records in JSON and NDJSON files or on stdin.
 *
 * What can be known beforehand (names, missing files, broken JSON) fails before anything runs. A file or line that
 * turns out bad while the run goes on is skipped and told at the end.
 */
import * as fs from "node:fs"
import { basename, extname, resolve } from "node:path"

import type { Graph, Port } from "@reelgraph/core"
import { RecordCodec } from "@reelgraph/call"
import type { Engine } from "@reelgraph/engine"
import { BlobStore, type PutError, type SourceError, type StoreUnreadable } from "@reelgraph/store"
import * as Effect from "effect/Effect"
import * as Result from "effect/Result"
import * as Schema from "effect/Schema"
import * as Stdio from "effect/Stdio"
import * as Stream from "effect/Stream"

import * as InputFiles from "./InputFiles.ts"
import * as JsonText from "./JsonText.ts"
import { InputMissing, InputNameMissing, InputUnknown, InputUnreadable } from "./UsageError.ts"

/** A file or line that could not be made into a record. */
export interface Skipped {
  readonly input: string
  /** A path, with the line for records in a file of many. */
  readonly source: string
  readonly problem: string
}

/** Inputs ready to run. `skipped` grows while they are read. */
export interface Prepared {
  readonly inputs: Engine.Inputs<InputError, BlobStore | Stdio.Stdio>
  readonly skipped: ReadonlyArray<Skipped>
  /** How many records will come, by input, where that is known beforehand. */
  readonly totals: { readonly [input: string]: number }
}

/** More of the input could not be read than the run was allowed to lose. */
export class TooManySkipped extends Schema.TaggedError<TooManySkipped>()("TooManySkipped", {
  skipped: Schema.Int,
  allowed: Schema.Int,
  last: Schema.String,
}) {
  override get message() {
    return `${this.skipped} inputs could not be read, and ${this.allowed} were allowed; the last: ${this.last}`
  }
}

export type InputError = PutError | StoreUnreadable | InputUnreadable | TooManySkipped

const recordExtensions = [".json", ".ndjson", ".jsonl"]

/** Files hashed at once. */
const hashing = 2

/** Resolves every `--input` of a command for a graph; `NAME=` with nothing behind it is an input without records. */
export const prepare = Effect.fn("InputSource.prepare")(function* (
  graph: Graph.Graph,
  given: ReadonlyArray<string>,
  maxSkipped: number = Number.POSITIVE_INFINITY,
) {
  const names = Object.keys(graph.inputs)
  const paths = new Map<string, Array<string>>(names.map((name) => [name, []]))
  const empty = new Set<string>()
  const skips = new Skips(maxSkipped)
  for (const text of given) {
    const { input, path } = yield* assign(graph, names, text)
    if (path === "") {
      empty.add(input)
      continue
    }
    const { files } = graph.inputs[input]!
    if (path === "-" && files === undefined) {
      paths.get(input)!.push("-")
      continue
    }
    const found = yield* InputFiles.expand(input, path, files?.extensions ?? recordExtensions)
    for (const file of found.files) paths.get(input)!.push(file)
    for (const file of found.unnamed) skips.add(input, file, InputFiles.unnamedProblem)
  }
  yield* skips.check
  const missing = [...paths].flatMap(([input, found]) =>
    found.length === 0 && !empty.has(input) ? [{ input, takes: takesOf(graph.inputs[input]!) }] : [],
  )
  if (missing.length > 0) return yield* new InputMissing({ graph: graph.name, missing })
  const totals: { [input: string]: number } = {}
  const inputs: { [input: string]: Stream.Stream<unknown, InputError, BlobStore | Stdio.Stdio> } = {}
  for (const [input, found] of paths) {
    const port = graph.inputs[input]!
    if (found.length === 0) {
      totals[input] = 0
      inputs[input] = Stream.empty
      continue
    }
    const distinct = [...new Map(found.map((path) => [path === "-" ? path : resolve(path), path])).values()]
    if (port.files !== undefined) totals[input] = distinct.length
    inputs[input] =
      port.files === undefined
        ? Stream.flatMap(
            Stream.fromIterable(yield* Effect.forEach(distinct, (path) => records(input, port, path, skips))),
            (one) => one,
          )
        : files(input, port.files, distinct, skips)
  }
  return { inputs, skipped: skips.all, totals } satisfies Prepared
})

/** What an input is given as. */
const takesOf = ({ files }: Port.Any): string =>
  files === undefined ? "FILE.ndjson" : `FOLDER|FILE|'*${files.extensions[0]}'`

/** Which input a `NAME=PATH` or a bare `PATH` is for. */
const assign = (
  graph: Graph.Graph,
  names: ReadonlyArray<string>,
  text: string,
): Effect.Effect<{ readonly input: string; readonly path: string }, InputUnknown | InputNameMissing> => {
  const equals = text.indexOf("=")
  const name = text.slice(0, Math.max(0, equals))
  const [only] = names
  if (names.includes(name)) return Effect.succeed({ input: name, path: text.slice(equals + 1) })
  const isName = /^[A-Za-z_][\w-]*$/.test(name) && !fs.existsSync(text)
  if (isName || only === undefined)
    return Effect.fail(new InputUnknown({ graph: graph.name, input: isName ? name : text, inputs: names }))
  if (names.length > 1)
    return Effect.fail(new InputNameMissing({ graph: graph.name, given: text, inputs: names }))
  return Effect.succeed({ input: only, path: text })
}

/** Counts what was skipped. */
class Skips {
  readonly all: Array<Skipped> = []
  readonly #allowed: number

  constructor(allowed: number) {
    this.#allowed = allowed
  }
  add(input: string, source: string, problem: string): void {
    this.all.push({ input, source, problem: problem.replaceAll(/\n[ \t]+at /g, " at ") })
  }
  readonly check: Effect.Effect<void, TooManySkipped> = Effect.suspend(() => {
    const last = this.all.at(-1)
    return last === undefined || this.all.length <= this.#allowed
      ? Effect.void
      : Effect.fail(
          new TooManySkipped({
            skipped: this.all.length,
            allowed: this.#allowed,
            last: `${last.source}: ${last.problem}`,
          }),
        )
  })
}

const isSourceError = (error: PutError | SourceError | StoreUnreadable): error is SourceError =>
  error._tag === "SourceMissing" || error._tag === "SourceChanged" || error._tag === "SourceUnreadable"

/** One record for each file, registered in the store where it is. */
const files = (
  input: string,
  source: Port.FileSource<unknown>,
  paths: ReadonlyArray<string>,
  skips: Skips,
): Stream.Stream<unknown, InputError, BlobStore> =>
  Stream.fromIterable(paths).pipe(
    Stream.mapEffect(
      (path) =>
        BlobStore.use((blobs) => blobs.reference(path, source.mediaType)).pipe(
          Effect.map((artifact) => [source.record(artifact, basename(path))]),
          Effect.catchIf(isSourceError, (error) => {
            skips.add(input, path, error.message)
            return Effect.as(skips.check, [])
          }),
        ),
      { concurrency: hashing },
    ),
    Stream.flatMap((made) => Stream.fromIterable(made)),
  )

/** The records of a JSON file, an NDJSON file, or stdin. JSON files are read at once, to tell broken ones early. */
const records = (
  input: string,
  port: Port.Any,
  path: string,
  skips: Skips,
): Effect.Effect<Stream.Stream<unknown, InputError, Stdio.Stdio>, InputUnreadable> => {
  const codec = RecordCodec.of(port.record)
  const decoded = <E, R>(texts: Stream.Stream<string, E, R>, place: (index: number) => string) => {
    let index = 0
    return texts.pipe(
      Stream.map((line) => {
        const at = index++
        const text = at === 0 ? JsonText.withoutMark(line) : line
        if (text.trim() === "") return undefined
        return Result.try({
          try: () => codec.decode(text),
          catch: (cause) =>
            skips.add(input, place(at), cause instanceof Error ? cause.message : String(cause)),
        })
      }),
      Stream.mapArrayEffect((results) => Effect.as(skips.check, results)),
      Stream.filter((result) => result !== undefined),
      Stream.filter(Result.isSuccess),
      Stream.map((result) => result.success),
    )
  }
  const lines = <E, R>(bytes: Stream.Stream<Uint8Array, E, R>) =>
    decoded(Stream.splitLines(Stream.decodeText(bytes)), (line) => `${path}:${line + 1}`)
  const failed = (cause: unknown) => InputFiles.unreadable(input, path, cause)

  if (path === "-") {
    return Effect.succeed(
      Stream.unwrap(Stdio.Stdio.use(({ stdin }) => Effect.succeed(lines(stdin)))).pipe(
        Stream.mapError((error) => (error._tag === "PlatformError" ? failed(error) : error)),
      ),
    )
  }
  if (extname(path).toLowerCase() !== ".json") {
    return Effect.succeed(
      Stream.suspend(() =>
        lines(Stream.fromAsyncIterable<Uint8Array, InputUnreadable>(fs.createReadStream(path), failed)),
      ),
    )
  }
  return Effect.map(
    Effect.try({
      try: () => JsonText.parse(fs.readFileSync(path)),
      catch: failed,
    }),
    (json) => {
      const several: ReadonlyArray<unknown> = Array.isArray(json) ? json : [json]
      return decoded(
        Stream.map(Stream.fromIterable(several), (record) => JSON.stringify(record)),
        (index) => (Array.isArray(json) ? `${path}[${index}]` : path),
      )
    },
  )
}
