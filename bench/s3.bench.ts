/** What a store in a bucket costs beside the client of the SDK: large files up and down, on a server on this machine. */
import { fork } from "node:child_process"
import { randomFillSync } from "node:crypto"
import { closeSync, mkdirSync, openSync, rmSync, writeSync } from "node:fs"
import { join } from "node:path"
import { fileURLToPath } from "node:url"

import { BlobStore, BlobStoreS3 } from "@reelgraph/store"
import * as Effect from "effect/Effect"

import * as Plain from "../packages/store/test/plain.ts"
import * as S3 from "../packages/store/test/s3.ts"
import { temporaryFolder } from "../test/curation.ts"
import type { Bench } from "./main.ts"
import { table } from "./table.ts"

const files = 8
const fileMebi = 64
const atOnce = 4
const rounds = 3
const mebi = 1024 * 1024

/** Of one way to move all files. */
interface Measured {
  readonly what: string
  readonly wall: number
  readonly cpu: number
}

const startServer = Effect.acquireRelease(
  Effect.callback<{ readonly endpoint: string; readonly end: () => void }>((resume) => {
    const child = fork(fileURLToPath(new URL("s3.server.ts", import.meta.url)))
    child.once("message", (endpoint) =>
      resume(Effect.succeed({ endpoint: endpoint as string, end: () => child.disconnect() })),
    )
  }),
  ({ end }) => Effect.sync(end),
)

const writeFiles = (folder: string): ReadonlyArray<string> =>
  Array.from({ length: files }, (_, index) => {
    const path = join(folder, `file-${index}`)
    const fd = openSync(path, "w")
    const bytes = new Uint8Array(mebi)
    for (let i = 0; i < fileMebi; i++) writeSync(fd, randomFillSync(bytes))
    closeSync(fd)
    return path
  })

/** All of them, some at once, in seconds. */
const measure = Effect.fnUntraced(function* <A, B, E, R>(
  what: string,
  all: ReadonlyArray<A>,
  one: (each: A) => Effect.Effect<B, E, R>,
) {
  const [cpu, begun] = [process.cpuUsage(), performance.now()]
  const results = yield* Effect.forEach(all, one, { concurrency: atOnce })
  const { system, user } = process.cpuUsage(cpu)
  const measured: Measured = {
    what,
    wall: (performance.now() - begun) / 1000,
    cpu: (system + user) / 1_000_000,
  }
  return { results, measured }
})

const ways = {
  plainPut: "floor: `PutObject` of each file in one request",
  reference: "store: `reference`, read where it is",
  put: "store: `putFile`, copied to the cache",
  plainGet: "floor: `GetObject`, written to files",
  verify: "store: `verify`, kept nowhere",
  get: "store: `localPath`, written to the cache",
}

/** Each way once, against a server and caches that are empty. */
const round = Effect.fnUntraced(function* (paths: ReadonlyArray<string>, folder: string) {
  const { endpoint } = yield* startServer
  yield* Effect.sync(() => mkdirSync(folder))
  const plain = yield* Effect.acquireRelease(
    Effect.sync(() => Plain.open(endpoint)),
    ({ close }) => Effect.sync(close),
  )
  const names = paths.map((path, index) => ({
    path,
    key: `plain/${index}`,
    to: join(folder, `got-${index}`),
  }))
  const plainPut = yield* measure(ways.plainPut, names, ({ key, path }) =>
    Effect.promise(() => plain.put(key, path)),
  )
  const at = (prefix: string, cache: string) =>
    BlobStoreS3.layer(S3.locationAt(endpoint, prefix), { cache: join(folder, cache), durability: "none" })
  const using = (prefix: string, cache: string) =>
    Effect.fnUntraced(
      function* <A, B, E>(
        what: string,
        all: ReadonlyArray<A>,
        one: (store: BlobStore["Service"], each: A) => Effect.Effect<B, E>,
      ) {
        const store = yield* BlobStore
        return yield* measure(what, all, (each) => one(store, each))
      },
      Effect.provide(at(prefix, cache)),
    )
  const type = "application/octet-stream"
  const reference = yield* using("a", "one")(ways.reference, paths, (store, path) =>
    store.reference(path, type),
  )
  const put = yield* using("b", "two")(ways.put, paths, (store, path) => store.putFile(path, type))
  const plainGet = yield* measure(ways.plainGet, names, ({ key, to }) =>
    Effect.promise(() => plain.get(key, to)),
  )
  const verify = yield* using("b", "three")(ways.verify, put.results, (store, artifact) =>
    store.verify(artifact),
  )
  const get = yield* using("b", "four")(ways.get, put.results, (store, artifact) =>
    Effect.scoped(store.localPath(artifact)),
  )
  yield* Effect.sync(() => rmSync(folder, { recursive: true }))
  return [plainPut, reference, put, plainGet, verify, get].map(({ measured }) => measured)
}, Effect.scoped)

const range = (values: ReadonlyArray<number>, digits: number): string =>
  `${Math.min(...values).toFixed(digits)} to ${Math.max(...values).toFixed(digits)}`

/** A row of one way, beside the floor of the same rounds. */
const row = (all: ReadonlyArray<ReadonlyArray<Measured>>, what: string, floor: string) => {
  const of = (way: string) => all.map((measured) => measured.find((each) => each.what === way)!)
  const [mine, floors] = [of(what), of(floor)]
  const ratio = (clock: "wall" | "cpu") =>
    range(
      mine.map((each, index) => each[clock] / floors[index]![clock]),
      2,
    )
  const isFloor = what === floor
  return [
    what,
    range(
      mine.map(({ wall }) => (files * fileMebi) / wall),
      0,
    ),
    isFloor ? "1" : ratio("wall"),
    range(
      mine.map(({ cpu }) => cpu),
      2,
    ),
    isFloor ? "1" : ratio("cpu"),
  ]
}

const run = Effect.gen(function* () {
  const folder = yield* temporaryFolder
  const paths = writeFiles(folder)
  // The first has what is compiled and loaded once.
  yield* round(paths.slice(0, 1), join(folder, "first"))
  const all = yield* Effect.forEach(Array.from({ length: rounds }).keys(), (index) =>
    round(paths, join(folder, `round-${index}`)),
  )
  const head = ["MiB/s", "x time", "CPU s", "x CPU"]
  return [
    `${files} files of ${fileMebi} MiB, ${atOnce} at once, least and most of ${rounds} rounds in which each way has its turn. The server is`,
    "s3rver, in a process of its own whose time of the processor is not counted, but which shares the cores. The floor",
    "compares nothing; over HTTP the SDK signs a SHA-256 of what is uploaded, the store's parts included. The store",
    "hashes a file before it uploads it, compares the MD5 of each part with the server's, and the SHA-256 of what it",
    "downloads. Nothing is synchronised to the disk.",
    "",
    table(
      ["up", ...head],
      [ways.plainPut, ways.reference, ways.put].map((way) => row(all, way, ways.plainPut)),
    ),
    "",
    table(
      ["down", ...head],
      [ways.plainGet, ways.verify, ways.get].map((way) => row(all, way, ways.plainGet)),
    ),
  ].join("\n")
}).pipe(Effect.scoped, Effect.orDie)

export const bench: Bench = {
  description: "large files to and from a bucket, beside the SDK alone (2 minutes)",
  run,
}
