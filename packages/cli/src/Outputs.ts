/**
 * The outputs of a run as files: for each a Parquet manifest `DIR/<output>.parquet`, and the files that its records
 * name as `DIR/<output>/<name>-<field>-<digits of its digest>.<ending>`. The field is told where a record names several
 * files, the digits where an output has several records.
 *
 * Files are links to the store where that is possible (they are read-only, like everything in it). A file of somebody
 * else is never replaced.
 */
import { createHash } from "node:crypto"
import * as fs from "node:fs"
import { extname, join } from "node:path"

import { Graph } from "@reelgraph/core"
import { type Artifact, artifactsIn, BlobStore, type Journal, type Run } from "@reelgraph/store"
import * as Manifest from "@reelgraph/store/Manifest"
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import * as Schema from "effect/Schema"
import * as Stream from "effect/Stream"

import * as ItemLabel from "./ItemLabel.ts"
import { OutputTaken } from "./UsageError.ts"

/** A file of an output could not be written. */
export class OutputUnwritable extends Schema.TaggedError<OutputUnwritable>()("OutputUnwritable", {
  file: Schema.String,
  problem: Schema.String,
}) {
  override get message() {
    return `--out: cannot write ${this.file}: ${this.problem}; the run itself is done, and running it again writes the rest`
  }
}

/** What was written of one output. */
export interface Written {
  readonly output: string
  readonly manifest: string
  readonly folder: string
  readonly items: number
  readonly files: number
}

const graphKey = "reelgraph.graph"
const runKey = "reelgraph.run"

/** A name that every file system takes. */
export const fileName = (text: string): string =>
  text
    .normalize("NFKD")
    .replaceAll(/[^A-Za-z0-9._-]+/g, "-")
    // What is trimmed is short: a long run of dots would be looked at from each of them.
    .slice(0, 256)
    .replaceAll(/^[.-]+|[.-]+$/g, "")
    .slice(0, 60)

const manifestOf = (folder: string, output: string): string => join(folder, `${fileName(output)}.parquet`)

/** Fails when something in the folder is in the way: told before anything runs. */
export const check = Effect.fn("Outputs.check")(function* (folder: string, graph: Graph.Graph) {
  const status = fs.existsSync(folder) ? fs.statSync(folder) : undefined
  if (status?.isDirectory() === false)
    return yield* new OutputTaken({ file: folder, why: "is a file, not a folder" })
  for (const output of Object.keys(graph.outputs)) {
    const manifest = manifestOf(folder, output)
    if (!fs.existsSync(manifest)) continue
    const writtenBy = yield* Manifest.describe(manifest).pipe(
      Effect.map(({ metadata }) => metadata[graphKey]),
      Effect.orElseSucceed(() => undefined),
    )
    if (writtenBy !== graph.name) {
      const why =
        writtenBy === undefined ? "was not written by reel" : `holds an output of graph ${writtenBy}`
      return yield* new OutputTaken({ file: manifest, why })
    }
  }
})

/** Writes every output of a run. A manifest of the same graph is replaced. */
export const write = Effect.fn("Outputs.write")(function* (
  folder: string,
  graph: Graph.Graph,
  run: Run,
  journal: typeof Journal.Service,
) {
  const written: Array<Written> = []
  for (const [output, from] of Object.entries(graph.outputs)) {
    const items = journal
      .runItems(run.id, `out:${output}`)
      .map((id) => ({ id, digest: journal.item(id)?.digest ?? "" }))
      .sort((a, b) => (a.digest < b.digest ? -1 : 1))
    const into = join(folder, fileName(output))
    const there = new Set<string>()
    for (const { id } of items) {
      const record: unknown = JSON.parse(journal.item(id)?.record ?? "null")
      const named = (yield* ownFiles(record)).filter(({ artifact }) => !there.has(artifact.sha256))
      const name = named.length === 0 ? "" : fileName(ItemLabel.nameOf(journal, id) ?? output)
      const wanted = named.map(({ artifact, isOurs }) => {
        const kind = ending(artifact, isOurs ? "" : extname(name))
        const base = name.slice(0, name.length - extname(name).length)
        const role = named.length === 1 ? "" : roleSuffix(roleOf(record, artifact.sha256), kind)
        return { artifact, isOurs, kind, stem: `${base === "" ? output : base}${role}` }
      })
      for (const { artifact, isOurs, kind, stem } of wanted) {
        there.add(artifact.sha256)
        const alike = wanted.filter((other) => other.stem === stem && other.kind === kind)
        if (items.length === 1 && isOurs && alike.length === 1)
          yield* replace(artifact, join(into, `${stem}${kind}`)).pipe(
            Effect.catchTag(
              "OutputTaken",
              ({ file, why }) => new OutputUnwritable({ file, problem: `it ${why}` }),
            ),
          )
        else yield* place(artifact, join(into, `${stem}-${artifact.sha256.slice(0, 8)}${kind}`), isOurs)
      }
    }
    const manifest = manifestOf(folder, output)
    yield* Manifest.writeEncoded(
      manifest,
      Stream.map(Stream.fromIterable(items), ({ digest, id }) => ({
        item: digest,
        record: JSON.parse(journal.item(id)?.record ?? "null") as unknown,
      })),
      Graph.portOf(graph, from)!.record,
      { metadata: { [graphKey]: graph.name, "reelgraph.version": graph.version, [runKey]: run.name } },
    )
    written.push({ output, manifest, folder: into, items: items.length, files: there.size })
  }
  return written
})

/**
 * The files of a record: what the store holds of them. A file that the store only refers to, such as the source video
 * of a clip, is where its owner put it; it counts when the record names nothing else.
 */
const ownFiles = (record: unknown) =>
  Effect.gen(function* () {
    const files = yield* Effect.forEach(artifactsIn(record), (artifact) =>
      Effect.map(isOwn(artifact.sha256), (isOurs) => ({ artifact, isOurs })),
    )
    const ours = files.filter(({ isOurs }) => isOurs)
    return ours.length > 0 ? ours : files
  })

/** Whether a blob is the store's own, not a file of somebody that it refers to. */
const isOwn = (sha256: string) =>
  Effect.map(
    BlobStore.use((blobs) => blobs.kind(sha256)),
    (kind) => Option.isSome(kind) && kind.value === "blob",
  )

/** The field of a record under which it names a blob. */
const roleOf = (record: unknown, sha256: string): string => {
  const pending: Array<{ readonly field: string; readonly value: unknown }> = [
    { field: "file", value: record },
  ]
  while (pending.length > 0) {
    const { field, value } = pending.pop()!
    if (typeof value !== "object" || value === null) continue
    if ("sha256" in value && value.sha256 === sha256) return field
    for (const [name, inner] of Object.entries(value))
      pending.push({ field: Array.isArray(value) ? field : name, value: inner })
  }
  return "file"
}

/** `curveSvg` of an .svg file gives `-curve`; the main file of a record needs no more than its name. */
const roleSuffix = (field: string, ending: string): string => {
  const words = fileName(field)
    .replaceAll(/(?<=[a-z0-9])(?=[A-Z])/g, "-")
    .toLowerCase()
  if (words === "file") return ""
  const telling = words.endsWith(`-${ending.slice(1)}`) ? words.slice(0, -ending.length) : words
  return `-${telling}`
}

const endings: { readonly [mediaType: string]: string } = {
  "video/mp4": ".mp4",
  "video/quicktime": ".mov",
  "video/x-matroska": ".mkv",
  "video/webm": ".webm",
  "audio/mpeg": ".mp3",
  "audio/wav": ".wav",
  "image/png": ".png",
  "image/jpeg": ".jpg",
  "image/svg+xml": ".svg",
  "text/plain": ".txt",
  "application/json": ".json",
  "application/x-ndjson": ".ndjson",
  "application/vnd.apache.parquet": ".parquet",
  "application/octet-stream": ".bin",
}

/** `.mp4`; for a type that is not known, its own name: `application/safetensors` gives `.safetensors`. */
const ending = ({ mediaType }: Artifact, given: string): string => {
  if (given !== "") return given
  const type = mediaType.split(";", 1)[0]!.trim().toLowerCase()
  const [, own] = /\/(?:x-|vnd\.)?([a-z0-9]+)$/.exec(type) ?? []
  return endings[type] ?? (own === undefined ? ".bin" : `.${own}`)
}

/** Puts a blob where a file is wanted. */
const place = (artifact: Artifact, file: string, isOurs: boolean) =>
  Effect.scoped(
    Effect.gen(function* () {
      const blobs = yield* BlobStore
      const path = yield* blobs.localPath(artifact)
      const failed = (cause: unknown) =>
        new OutputUnwritable({ file, problem: cause instanceof Error ? cause.message : String(cause) })
      const attempt = <A>(body: () => A) => Effect.try({ try: body, catch: failed })
      const there = yield* attempt(() => fs.statSync(file, { throwIfNoEntry: false }))
      if (there !== undefined) {
        const blob = yield* attempt(() => fs.statSync(path))
        if (there.ino === blob.ino && there.dev === blob.dev) return
        const same = there.size === artifact.bytes && (yield* digestOf(file, failed)) === artifact.sha256
        if (!same) return yield* failed("another file of this name is there; move it away")
        return
      }
      yield* attempt(() => fs.mkdirSync(join(file, ".."), { recursive: true }))
      // A person's own file that the store only refers to is copied: a link would tie the two together.
      const linked = isOurs && (yield* Effect.isSuccess(attempt(() => fs.linkSync(path, file))))
      if (linked) return
      const part = `${file}.part`
      yield* Effect.tryPromise({
        try: () => fs.promises.copyFile(path, part, fs.constants.COPYFILE_FICLONE),
        catch: failed,
      })
      yield* attempt(() => fs.renameSync(part, file))
    }),
  )

/** Fails when something is in the way of a file that is not a blob of this store. */
export const checkFile = Effect.fn("Outputs.checkFile")(function* (file: string) {
  const failed = (cause: unknown) => new OutputUnwritable({ file, problem: (cause as Error).message })
  const status = yield* Effect.try({
    try: () => fs.statSync(file, { throwIfNoEntry: false }),
    catch: failed,
  })
  if (status === undefined) return
  if (!status.isFile()) return yield* new OutputTaken({ file, why: "is no file" })
  const isOurs = yield* isOwn(yield* digestOf(file, failed))
  if (!isOurs) return yield* new OutputTaken({ file, why: "was not made by reel in this store" })
})

/** Puts a blob where a file is wanted, in the place of another blob of the store if one is there. */
export const replace = Effect.fn("Outputs.replace")(function* (artifact: Artifact, file: string) {
  yield* checkFile(file)
  yield* Effect.try({
    try: () => fs.rmSync(file, { force: true }),
    catch: (cause) => new OutputUnwritable({ file, problem: (cause as Error).message }),
  })
  yield* place(artifact, file, true)
})

const digestOf = (file: string, failed: (cause: unknown) => OutputUnwritable) =>
  Effect.suspend(() => {
    const hash = createHash("sha256")
    return Stream.fromAsyncIterable<Buffer, OutputUnwritable>(fs.createReadStream(file), failed).pipe(
      Stream.runForEach((bytes) => Effect.sync(() => hash.update(bytes))),
      Effect.map(() => hash.digest("hex")),
    )
  })
