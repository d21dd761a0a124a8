/**
 * The outputs of a run as files: for each a Parquet manifest `DIR/<output>.parquet`, and the files that its records
 * name as `DIR/<output>/<name>-<field>-<digits of its digest>.<ending>`. The field is told where a record names several
 * files, the digits where an output has several records.
 *
 * Files are copies: what is done to them does not reach the store. Each is compared with its digest on the way. A file
 * of somebody else is never replaced, and no link is followed. The bytes of a manifest depend on its rows alone.
 */
import * as fs from "node:fs"
import { extname, join } from "node:path"

import { Graph } from "@reelgraph/core"
import { type Artifact, artifactsIn, BlobStore, Journal, type Run } from "@reelgraph/store"
import * as Manifest from "@reelgraph/store/Manifest"
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import * as Stream from "effect/Stream"

import * as ItemLabel from "./ItemLabel.ts"
import * as LostBlobs from "./LostBlobs.ts"
import * as OutputFile from "./OutputFile.ts"
import { OutputTaken } from "./UsageError.ts"

/** What was written of one output. */
export interface Written {
  readonly output: string
  readonly manifest: string
  readonly folder: string
  readonly items: number
  readonly files: number
}

const graphKey = "reelgraph.graph"

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
    const kind = yield* OutputFile.kindOf(manifest)
    if (kind === "none") continue
    if (kind !== "file") return yield* new OutputTaken({ file: manifest, why: `is ${notAFile(kind)}` })
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

const notAFile = (kind: "folder" | "link" | "other"): string =>
  kind === "other" ? "no plain file" : `a ${kind}, not a file`

/**
 * Writes every output of a run. A manifest of the same graph is replaced. Fails with `BlobsLost` when the store has lost
 * blobs of results, after it has written what it could.
 */
export const write = Effect.fn("Outputs.write")(function* (
  folder: string,
  graph: Graph.Graph,
  run: Run,
  journal: typeof Journal.Service,
) {
  const written: Array<Written> = []
  const lost = new LostBlobs.Found()
  for (const [output, from] of Object.entries(graph.outputs)) {
    const items = journal
      .runItems(run.id, `out:${output}`)
      .map((id) => ({ id, digest: journal.item(id)?.digest ?? "" }))
      .sort((a, b) => (a.digest < b.digest ? -1 : 1))
    const into = join(folder, fileName(output))
    const there = new Set<string>()
    for (const { id } of items) {
      const record: unknown = JSON.parse(journal.item(id)?.record ?? "null")
      const named = (yield* ownFiles(journal, record)).filter(({ artifact }) => !there.has(artifact.sha256))
      const name = named.length === 0 ? "" : fileName(ItemLabel.nameOf(journal, id) ?? output)
      const wanted = named.map(({ artifact, isOurs }) => {
        const kind = ending(artifact, isOurs ? "" : extname(name))
        const base = name.slice(0, name.length - extname(name).length)
        const role = named.length === 1 ? "" : roleSuffix(roleOf(record, artifact.sha256), kind)
        return { artifact, isOurs, kind, stem: `${base === "" ? output : base}${role}` }
      })
      if (wanted.length > 0 && there.size === 0) yield* OutputFile.makeFolder(into)
      for (const { artifact, isOurs, kind, stem } of wanted) {
        there.add(artifact.sha256)
        const alike = wanted.filter((other) => other.stem === stem && other.kind === kind)
        if (items.length === 1 && isOurs && alike.length === 1)
          yield* replace(artifact, join(into, `${stem}${kind}`)).pipe(
            Effect.catchTag(
              "OutputTaken",
              ({ file, why }) => new OutputFile.OutputUnwritable({ file, problem: `it ${why}` }),
            ),
            lost.note(artifact),
          )
        else
          yield* place(artifact, join(into, `${stem}-${artifact.sha256.slice(0, 8)}${kind}`)).pipe(
            lost.note(artifact, isOurs),
          )
      }
    }
    if (lost.sha256s.size > 0) continue
    const manifest = manifestOf(folder, output)
    yield* Manifest.writeEncoded(
      manifest,
      Stream.map(Stream.fromIterable(items), ({ digest, id }) => ({
        item: digest,
        record: JSON.parse(journal.item(id)?.record ?? "null") as unknown,
      })),
      Graph.portOf(graph, from)!.record,
      { metadata: { [graphKey]: graph.name, "reelgraph.version": graph.version } },
    )
    written.push({ output, manifest, folder: into, items: items.length, files: there.size })
  }
  yield* lost.check
  return written
})

/**
 * The files of a record: what the store holds of them. A file that the store only refers to, such as the source video
 * of a clip, is where its owner put it; it counts when the record names nothing else.
 */
const ownFiles = (journal: typeof Journal.Service, record: unknown) =>
  Effect.gen(function* () {
    const blobs = yield* BlobStore
    const files = yield* Effect.forEach(artifactsIn(record), (artifact) =>
      Effect.map(blobs.kind(artifact.sha256), (kind) => ({
        artifact,
        // What a call has made and the store has lost is told of, not left out.
        isOurs: Option.isSome(kind) ? kind.value === "blob" : LostBlobs.isMade(journal, artifact.sha256),
      })),
    )
    const ours = files.filter(({ isOurs }) => isOurs)
    return ours.length > 0 ? ours : files
  })

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
const place = (artifact: Artifact, file: string) =>
  Effect.scoped(
    Effect.gen(function* () {
      const path = yield* BlobStore.use((blobs) => blobs.localPath(artifact))
      const kind = yield* OutputFile.kindOf(file)
      if (kind === "none") return yield* OutputFile.copy(path, file)
      const taken = new OutputFile.OutputUnwritable({ file, problem: OutputFile.inTheWay(kind) })
      if (kind !== "file") return yield* taken
      if (yield* OutputFile.sharesStorage(file, path))
        return yield* OutputFile.copy(path, file, { replaces: true })
      if ((yield* OutputFile.digestOf(file)) !== artifact.sha256) return yield* taken
    }),
  )

/** Fails when something is in the way of a file that is not a blob of this store. */
export const checkFile = Effect.fn("Outputs.checkFile")(function* (file: string) {
  const kind = yield* OutputFile.kindOf(file)
  if (kind === "none") return
  if (kind !== "file") return yield* new OutputTaken({ file, why: `is ${notAFile(kind)}` })
  const sha256 = yield* OutputFile.digestOf(file)
  const stored = yield* BlobStore.use((blobs) => blobs.kind(sha256))
  // The store may have lost what it made.
  const isOurs = Option.isSome(stored) ? stored.value === "blob" : LostBlobs.isMade(yield* Journal, sha256)
  if (!isOurs) return yield* new OutputTaken({ file, why: "was not made by reel in this store" })
})

/** Puts a blob where a file is wanted, in the place of another blob of the store if one is there. */
export const replace = Effect.fn("Outputs.replace")(function* (artifact: Artifact, file: string) {
  yield* Effect.scoped(
    Effect.gen(function* () {
      const path = yield* BlobStore.use((blobs) => blobs.localPath(artifact))
      yield* checkFile(file)
      yield* OutputFile.copy(path, file, { replaces: true })
    }),
  )
})
