/**
 * Where a store is: a folder, or a prefix in a bucket of S3 or of a server that speaks its protocol.
 *
 * ```
 * ./results
 * s3://bucket/prefix
 * s3://bucket/prefix?endpoint=http://minio:9000&region=eu-central-1&path-style=true
 * ```
 *
 * What a URL leaves out comes from where other programs for S3 take it from: `AWS_REGION`, `AWS_ENDPOINT_URL_S3`,
 * `AWS_PROFILE` and the files in `~/.aws`. Credentials come from there alone: a URL is shown in reports and stays in
 * histories, so one with a secret in it is refused.
 */
import { createHash } from "node:crypto"
import { mkdirSync } from "node:fs"
import { homedir } from "node:os"
import { join, resolve } from "node:path"
import * as Config from "effect/Config"
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import * as Schema from "effect/Schema"

/** A location that is none, or one that no store can be at. The message never shows a secret that is in it. */
export class LocationInvalid extends Schema.TaggedError<LocationInvalid>()("LocationInvalid", {
  location: Schema.String,
  problem: Schema.String,
}) {
  override get message() {
    return `${this.location} is no place for a store: ${this.problem}`
  }
}

export interface Folder {
  readonly _tag: "Folder"
  /** Absolute. */
  readonly path: string
}

export interface Bucket {
  readonly _tag: "Bucket"
  readonly bucket: string
  /** Without slashes at its ends; empty for the whole bucket. */
  readonly prefix: string
  /** URL of a server other than Amazon's. */
  readonly endpoint: string | undefined
  readonly region: string | undefined
  /** Whether the bucket is named in the path of a request, not in the name of the host. */
  readonly pathStyle: boolean
  /** Milliseconds of silence after which a request counts as unanswered, if the URL sets them. */
  readonly timeoutMs: number | undefined
}

export type StoreLocation = Folder | Bucket

const scheme = /^([a-z][a-z0-9+.-]+):\/\//i
const params = ["endpoint", "region", "path-style", "timeout"]

/** The text without what stands between the `//` of its first URL and the last `@`. */
const withoutSecrets = (text: string): string => {
  const start = /(?::|%3a)(?:\/|%2f){2}/i.exec(text)
  if (start === null) return text
  const from = start.index + start[0].length
  const end = Math.max(text.lastIndexOf("@"), text.toLowerCase().lastIndexOf("%40") + 2)
  return end < from ? text : `${text.slice(0, from)}***@${text.slice(end + 1)}`
}

/** An environment variable; none when it is not set or is empty. */
const variable = (name: string): Effect.Effect<string | undefined> =>
  Config.option(Config.String(name)).pipe(
    Effect.orDie,
    Effect.map((value) => Option.getOrUndefined(value) || undefined),
  )

const asUrl = (text: string): URL | undefined => (URL.canParse(text) ? new URL(text) : undefined)

const parseBucket = Effect.fnUntraced(function* (text: string) {
  const location = withoutSecrets(text)
  const wrong = (problem: string) => Effect.fail(new LocationInvalid({ location, problem }))
  if (/^s3:\/\/[^/?]*@/i.test(text))
    return yield* wrong(
      "credentials do not belong in a URL; set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or AWS_PROFILE",
    )
  const url = asUrl(text)
  if (url === undefined || url.hash !== "") return yield* wrong("expected s3://bucket/prefix")
  if (!/^[a-z0-9][a-z0-9._-]{1,61}[a-z0-9]$/i.test(url.host))
    return yield* wrong(`${JSON.stringify(url.host)} does not name a bucket; expected s3://bucket/prefix`)
  const parts = url.pathname.split("/").filter((part) => part !== "")
  if (!parts.every((part) => /^[A-Za-z0-9!_'()=-][A-Za-z0-9!_.'()=-]*$/.test(part)))
    return yield* wrong(
      "expected a prefix of letters, digits, dashes, dots and underscores between slashes, none beginning with a dot",
    )
  for (const name of url.searchParams.keys()) {
    if (!params.includes(name))
      return yield* wrong(`it has no option ${name}; there are ${params.join(", ")}`)
  }
  const pathStyle = url.searchParams.get("path-style")
  if (pathStyle !== null && pathStyle !== "true" && pathStyle !== "false")
    return yield* wrong("path-style is true or false")
  const seconds = url.searchParams.get("timeout")
  if (seconds !== null && !(Number(seconds) > 0))
    return yield* wrong("timeout is a number of seconds: after so many of silence a request is made anew")
  const given = url.searchParams.get("endpoint") ?? undefined
  const endpoint = given ?? (yield* variable("AWS_ENDPOINT_URL_S3")) ?? (yield* variable("AWS_ENDPOINT_URL"))
  if (endpoint !== undefined) {
    const server = asUrl(endpoint)
    const where = given === undefined ? "the endpoint in the environment" : "its endpoint"
    if (server === undefined || !/^https?:$/.test(server.protocol))
      return yield* wrong(`${where} is not a URL such as http://minio:9000`)
    if (server.username !== "" || server.password !== "")
      return yield* wrong(
        `${where} has credentials in it; set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY instead`,
      )
  }
  return {
    _tag: "Bucket",
    bucket: url.host,
    prefix: parts.join("/"),
    endpoint,
    region: url.searchParams.get("region") ?? undefined,
    timeoutMs: seconds === null ? undefined : Number(seconds) * 1000,
    pathStyle: pathStyle === null ? endpoint !== undefined : pathStyle === "true",
  } satisfies Bucket
})

/** What a user has written after `--store`. */
export const parse = (text: string): Effect.Effect<StoreLocation, LocationInvalid> => {
  const [, named] = scheme.exec(text) ?? []
  if (named?.toLowerCase() === "s3") return parseBucket(text)
  if (named === undefined && text !== "") return Effect.succeed({ _tag: "Folder", path: resolve(text) })
  const problem = "expected a folder, such as .reel, or a bucket, such as s3://bucket/prefix"
  return Effect.fail(new LocationInvalid({ location: withoutSecrets(text), problem }))
}

/** The folder of this user's caches: `reelgraph` among the user's other caches (`$XDG_CACHE_HOME`, `~/.cache`). */
export const userCache: Effect.Effect<string> = Effect.map(variable("XDG_CACHE_HOME"), (caches) =>
  join(caches ?? join(homedir(), ".cache"), "reelgraph"),
)

/** Makes a folder for this user alone, if it can; one that is there stays as it is. */
export const makePrivate = (folder: string): Effect.Effect<void> =>
  Effect.ignore(Effect.try(() => mkdirSync(folder, { recursive: true, mode: 0o700 })))

/** The folder for copies of remote stores on this machine: `$REEL_CACHE`, or the user's. */
export const cacheFolder: Effect.Effect<string> = Effect.gen(function* () {
  const own = yield* variable("REEL_CACHE")
  return own === undefined ? yield* userCache : resolve(own)
})

/** Bytes of copies of blobs there, at most: `$REEL_CACHE_GIB`, or 50 GiB. */
export const cacheBytes: Effect.Effect<number> = Effect.map(variable("REEL_CACHE_GIB"), (text) => {
  const given = Number(text)
  return (given > 0 ? given : 50) * 1024 ** 3
})

/** The folder of this machine for one store in a bucket: its journal and its unfinished work. */
export const localFolder = (cache: string, location: Bucket): string => {
  const { bucket, endpoint, prefix } = location
  const digest = createHash("sha256")
    .update(JSON.stringify([endpoint ?? "", bucket, prefix]))
    .digest("hex")
  const readable = `${bucket}-${prefix}`
    .replaceAll(/[^A-Za-z0-9]+/g, "-")
    .slice(0, 60)
    .replace(/-$/, "")
  return join(cache, "stores", `${readable}-${digest.slice(0, 12)}`)
}
