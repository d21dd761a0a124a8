/**
 * Requests to one bucket: made again when they fail for a passing reason, and never too many at once.
 *
 * The SDK signs, sends and parses; its own attempts are switched off. They do as well for single requests (600 puts, a
 * fifth of all requests failing: none was lost either way), but do not cover a body that is cut short while it is read,
 * do not give their place among the requests to others during a pause, and cannot be interrupted in one. A pause before
 * another attempt doubles each time and is half random. A request counts as unanswered when nothing was heard for a
 * time, however much there is to send.
 *
 * What is sent is checked where it arrives. Amazon's servers compare a SHA-256 or CRC-32; of other servers some refuse
 * the headers for that and others ignore them, but most give an MD5 as the ETag of what they have, which is compared
 * here. Whether it is one is seen on the first object read, the store's own mark.
 *
 * Large files are uploaded in parts by the SDK's lib-storage. It is given a client whose requests are the ones here, so
 * that parts are made again, counted and compared as everything else.
 */
import { createHash } from "node:crypto"
import fs from "node:fs"
import type { Readable } from "node:stream"
import type * as Sdk from "@aws-sdk/client-s3"
import * as Deferred from "effect/Deferred"
import * as Effect from "effect/Effect"
import * as FiberSet from "effect/FiberSet"
import * as Option from "effect/Option"
import * as Random from "effect/Random"
import * as Semaphore from "effect/Semaphore"
import * as Stream from "effect/Stream"

import { RegionWrong, type S3Error, StoreUnreachable } from "../../S3Error.ts"
import * as Silence from "./silence.ts"
import { type Asked, Fault, ofCause, transient } from "./fault.ts"

export interface Options {
  readonly bucket: string
  readonly endpoint: string | undefined
  readonly region: string | undefined
  readonly pathStyle: boolean
  /** Requests at once, over the whole store. */
  readonly requests: number
  /** How often one is made before it is given up. */
  readonly attempts: number
  /** Milliseconds of silence after which it counts as unanswered. */
  readonly timeoutMs: number
  /** Milliseconds before the second attempt. */
  readonly pauseMs: number
}

export interface Listed {
  readonly key: string
  readonly bytes: number
  /** On the server's clock. */
  readonly modifiedMs: number
}

/** An object whose body is about to be read. */
export interface Opened {
  /** Of the whole object. */
  readonly bytes: number
  readonly modifiedMs: number
  /** The digest that its writer gave. */
  readonly sha256: string | undefined
  readonly etag: string | undefined
  /** The byte that `content` begins with. Servers may ignore which one was asked for. */
  readonly from: number
  /** The server's time. */
  readonly nowMs: number | undefined
  /** To the end of the object. */
  readonly content: Stream.Stream<Uint8Array, Fault>
}

export type Requests = Effect.Success<ReturnType<typeof open>>

/** A file to upload, of a known length and digest. */
interface LocalFile {
  readonly path: string
  readonly bytes: number
  readonly sha256: string
}

/** What the SDK sends in the course of an upload: one request where one part is all of it. */
type UploadCommand =
  | Sdk.CreateMultipartUploadCommand
  | Sdk.UploadPartCommand
  | Sdk.CompleteMultipartUploadCommand
  | Sdk.AbortMultipartUploadCommand
  | Sdk.PutObjectCommand

/** Bytes of one request; larger files go in parts of this size, or larger ones when there would be too many. */
const partBytes = 8 * 1024 * 1024
const maxParts = 9000
/** Uploads in parts at once, over the whole store, and parts of each. Each has two more parts in memory while it reads. */
const uploadsAtOnce = 2
const partsAtOnce = 3
/** Bytes of one read of a file that goes in parts. Larger ones take less time of the processor and more memory. */
const readBytes = 1024 * 1024
const longestPauseMs = 20_000
/** Attempts where a reason is not likely to pass: an unknown name, a port without a server. */
const lastingAttempts = 4
const amazon = "Amazon S3"

/** Why nothing of use came from the server; undefined when it has answered. */
const silentFor = (error: unknown): string | undefined =>
  error instanceof Fault && error.reason._tag === "Transient" ? error.reason.problem : undefined

const hexToBase64 = (hex: string): string => Buffer.from(hex, "hex").toString("base64")

/** The region that was given, or that the environment or a profile sets. Other servers than Amazon's need none. */
const connect = Effect.fnUntraced(function* (sdk: typeof Sdk, options: Options, asked: Asked) {
  const config: Sdk.S3ClientConfig = {
    maxAttempts: 1,
    forcePathStyle: options.pathStyle,
    requestHandler: {
      connectionTimeout: Math.min(10_000, options.timeoutMs),
      socketTimeout: options.timeoutMs,
      httpAgent: { keepAlive: true, maxSockets: options.requests },
      httpsAgent: { keepAlive: true, maxSockets: options.requests },
    },
    ...(options.endpoint === undefined
      ? {}
      : {
          endpoint: options.endpoint,
          requestChecksumCalculation: "WHEN_REQUIRED",
          responseChecksumValidation: "WHEN_REQUIRED",
        }),
  }
  const make = (region: string | undefined) =>
    Effect.acquireRelease(
      Effect.sync(() => new sdk.S3Client(region === undefined ? config : { ...config, region })),
      (client) => Effect.sync(() => client.destroy()),
    )
  const client = yield* make(options.region)
  const region = yield* Effect.option(Effect.tryPromise(() => client.config.region()))
  if (Option.isSome(region)) return { client, region: region.value }
  if (options.endpoint === undefined)
    return yield* new RegionWrong({ bucket: asked.bucket, asked: null, actual: null })
  return { client: yield* make("us-east-1"), region: "us-east-1" }
})

/** Opens connections to a bucket; nothing is asked of it yet. */
export const open = Effect.fn("s3Requests.open")(function* (options: Options) {
  const { bucket } = options
  const urlOf = (key: string): string => `s3://${bucket}/${key}`
  const server = options.endpoint ?? amazon
  const unknown: Asked = { bucket, server, region: null, url: urlOf(""), operation: "" }
  const sdk = yield* Effect.promise(() => import("@aws-sdk/client-s3"))
  const { client, region } = yield* connect(sdk, options, unknown)
  const permits = yield* Semaphore.make(options.requests)
  const uploads = yield* Semaphore.make(uploadsAtOnce)
  const silence = yield* Silence.make(server)
  let etagIsMd5 = false

  /** One attempt. */
  const call = <A>(
    operation: string,
    key: string,
    send: (signal: { readonly abortSignal: AbortSignal }) => Promise<A>,
  ): Effect.Effect<A, Fault> =>
    Effect.tryPromise({
      try: (abortSignal) => send({ abortSignal }),
      catch: (cause) => ofCause(cause, { ...unknown, region, url: urlOf(key), operation }),
    })

  /** Attempts until one succeeds or is refused; none when there is no such object. */
  const retry = <A, E, R>(
    key: string,
    one: Effect.Effect<A, E | Fault, R>,
  ): Effect.Effect<Option.Option<A>, Exclude<E, Fault> | S3Error, R> =>
    Effect.gen(function* () {
      let skews = 0
      for (let attempts = 1; ; attempts++) {
        const result = yield* Effect.result(silence.attempt(permits.withPermits(1)(one), silentFor))
        if (result._tag === "Success") return Option.some(result.success)
        const { failure } = result
        if (!(failure instanceof Fault)) return yield* Effect.fail(failure as Exclude<E, Fault>)
        const { reason } = failure
        if (reason._tag === "Absent") return Option.none<A>()
        // The SDK has learnt from the refusal what time it is for the server.
        if (reason._tag === "Refused" && reason.error._tag === "ClockSkewed" && skews++ === 0) continue
        if (reason._tag === "Refused") return yield* reason.error
        const problem = reason._tag === "UploadGone" ? "the upload was aborted" : reason.problem
        const bound = reason._tag === "Transient" && !reason.lasting ? options.attempts : lastingAttempts
        if (attempts >= Math.min(bound, options.attempts))
          return yield* new StoreUnreachable({ url: urlOf(key), attempts, problem })
        const pauseMs = Math.min(longestPauseMs, options.pauseMs * 2 ** (attempts - 1))
        yield* Effect.sleep(yield* Random.nextBetween(pauseMs / 2, pauseMs))
      }
    }).pipe(silence.waiting)

  /** One that makes something: there is no "no such object". */
  const insist = <A, E, R>(key: string, one: Effect.Effect<A, E | Fault, R>) =>
    Effect.flatMap(retry(key, one), (made) =>
      Option.isSome(made)
        ? Effect.succeed(made.value)
        : Effect.fail(new StoreUnreachable({ url: urlOf(key), attempts: 1, problem: "404" })),
    )

  const compareEtag = (
    { ETag, ServerSideEncryption }: { ETag?: string | undefined; ServerSideEncryption?: string | undefined },
    bytes: Uint8Array,
  ): Effect.Effect<void, Fault> => {
    if (!etagIsMd5 || ServerSideEncryption !== undefined) return Effect.void
    const same = ETag === undefined || ETag.replaceAll('"', "") === md5Of(bytes)
    return same ? Effect.void : Effect.fail(transient("it arrived damaged"))
  }

  const head = (key: string) =>
    retry(
      key,
      Effect.map(
        call("HeadObject", key, (signal) =>
          client.send(new sdk.HeadObjectCommand({ Bucket: bucket, Key: key }), signal),
        ),
        (output): Listed => ({
          key,
          bytes: output.ContentLength ?? 0,
          modifiedMs: output.LastModified?.getTime() ?? 0,
        }),
      ),
    )

  /** One attempt to read an object from a byte on. What `use` does not read is let go. To be called in a {@link retry}. */
  const read = <A, E, R>(key: string, from: number, use: (opened: Opened) => Effect.Effect<A, E, R>) =>
    Effect.acquireUseRelease(
      // Interrupting it destroys the request, and with it the body.
      Effect.interruptible(
        call("GetObject", key, async (signal) => {
          let nowMs: number | undefined
          const command = new sdk.GetObjectCommand({
            Bucket: bucket,
            Key: key,
            ...(from === 0 ? {} : { Range: `bytes=${from}-` }),
          })
          command.middlewareStack.add(
            (next) => async (args) => {
              const result = await next(args)
              const { headers } = result.response as { headers?: Record<string, string> }
              const time = Date.parse(headers?.["date"] ?? "")
              nowMs = Number.isNaN(time) ? undefined : time
              return result
            },
            { step: "deserialize", priority: "low" },
          )
          const output = await client.send(command, signal)
          return { output, nowMs }
        }),
      ),
      ({ nowMs, output }) => {
        const { Body, ContentLength, ContentRange, ETag, LastModified, Metadata } = output
        const [, first, total] = /(\d+)-\d+\/(\d+)$/.exec(ContentRange ?? "") ?? []
        return use({
          bytes: total === undefined ? (ContentLength ?? 0) : Number(total),
          modifiedMs: LastModified?.getTime() ?? 0,
          sha256: Metadata?.["sha256"],
          etag: ETag?.replaceAll('"', ""),
          from: Number(first ?? 0),
          nowMs,
          content: Stream.fromAsyncIterable<Uint8Array, Fault>(Body as unknown as Readable, (cause) =>
            ofCause(cause, { ...unknown, region, url: urlOf(key), operation: "GetObject" }),
          ).pipe(
            Stream.mapArray((chunks) => {
              silence.heard()
              return chunks
            }),
          ),
        })
      },
      ({ output }) => Effect.sync(() => void (output.Body as unknown as Readable).destroy()),
    )

  /** A small object whole, as its writer wrote it; none when there is none. */
  const get = Effect.fnUntraced(function* <E = never>(
    key: string,
    check: (bytes: number) => Effect.Effect<void, E> = () => Effect.void,
  ) {
    return yield* retry(
      key,
      read(key, 0, (opened) =>
        Effect.gen(function* () {
          yield* check(opened.bytes)
          const bytes = new Uint8Array(opened.bytes)
          let end = 0
          yield* Stream.runForEach(opened.content, (chunk) =>
            Effect.suspend(() => {
              if (end + chunk.length > bytes.length) return Effect.fail(transient("too much came"))
              bytes.set(chunk, end)
              end += chunk.length
              return Effect.void
            }),
          )
          if (end < bytes.length) return yield* transient(`${end} of ${bytes.length} bytes came`)
          const sha256 = createHash("sha256").update(bytes).digest("hex")
          if (opened.sha256 !== undefined && opened.sha256 !== sha256)
            return yield* transient("it arrived damaged")
          return { bytes, etag: opened.etag, modifiedMs: opened.modifiedMs, nowMs: opened.nowMs }
        }),
      ),
    )
  })

  /** Writes bytes held in memory, of a known digest. */
  const put = (key: string, bytes: Uint8Array, sha256: string): Effect.Effect<void, S3Error> =>
    insist(
      key,
      Effect.flatMap(
        call("PutObject", key, (signal) =>
          client.send(
            new sdk.PutObjectCommand({
              Bucket: bucket,
              Key: key,
              Body: bytes,
              ContentLength: bytes.length,
              Metadata: { sha256 },
              ...(options.endpoint === undefined ? { ChecksumSHA256: hexToBase64(sha256) } : {}),
            }),
            signal,
          ),
        ),
        (output) => compareEtag(output, bytes),
      ),
    )

  /** An answer may have been lost, and servers report an upload that is gone in many ways: is its object there? */
  const complete = (key: string, command: Sdk.CompleteMultipartUploadCommand, bytes: number) =>
    insist(
      key,
      call("CompleteMultipartUpload", key, (signal) => client.send(command, signal)).pipe(
        Effect.asVoid,
        Effect.catchIf(
          ({ reason }) => reason._tag === "UploadGone" || reason._tag === "Transient",
          (fault) =>
            call("HeadObject", key, (signal) =>
              client.send(new sdk.HeadObjectCommand({ Bucket: bucket, Key: key }), signal),
            ).pipe(
              Effect.mapError(() => fault),
              Effect.flatMap((output) => (output.ContentLength === bytes ? Effect.void : Effect.fail(fault))),
            ),
        ),
      ),
    )

  /** Forgets an upload, in about the time of one request: what waited for it has failed, or wants to end. */
  const removeParts = (key: string, command: Sdk.AbortMultipartUploadCommand) =>
    insist(
      key,
      Effect.catchIf(
        Effect.asVoid(call("AbortMultipartUpload", key, (signal) => client.send(command, signal))),
        (fault) => fault.reason._tag === "UploadGone",
        () => Effect.void,
      ),
    ).pipe(Effect.timeoutOption(options.timeoutMs), Effect.ignore)

  /** The SDK's upload in parts, with requests that are made as all others are. */
  const putParts = Effect.fnUntraced(
    function* <E, E2>(
      key: string,
      file: LocalFile,
      fail: (cause: unknown) => E,
      unchanged: Effect.Effect<void, E2>,
    ) {
      const { Upload } = yield* Effect.promise(() => import("@aws-sdk/lib-storage"))
      const failed = yield* Deferred.make<never, E | E2 | S3Error>()
      const stop = (error: E | E2 | S3Error) =>
        Effect.andThen(Deferred.fail(failed, error), Deferred.await(failed))
      let done: Promise<unknown> = Promise.resolve()
      // When requests are made no more it ends, after it has removed its parts.
      yield* Effect.addFinalizer(() => Effect.ignore(Effect.tryPromise(() => done)))
      const run = yield* FiberSet.makeRuntimePromise()
      const body = fs.createReadStream(file.path, { end: file.bytes - 1, highWaterMark: readBytes })
      const whole = Effect.suspend((): Effect.Effect<void, E | E2> =>
        body.bytesRead === file.bytes ? unchanged : Effect.fail(fail(shorter())),
      )
      const request = (command: UploadCommand): Effect.Effect<unknown, E | E2 | S3Error> => {
        if (command instanceof sdk.CreateMultipartUploadCommand)
          return insist(
            key,
            call("CreateMultipartUpload", key, (signal) => client.send(command, signal)),
          )
        if (command instanceof sdk.UploadPartCommand)
          return insist(
            key,
            Effect.tap(
              call("UploadPart", key, (signal) => client.send(command, signal)),
              (output) => compareEtag(output, command.input.Body as Uint8Array),
            ),
          )
        if (command instanceof sdk.CompleteMultipartUploadCommand)
          return Effect.andThen(whole, complete(key, command, file.bytes))
        return whole
      }
      const send = (command: UploadCommand): Promise<unknown> =>
        command instanceof sdk.AbortMultipartUploadCommand
          ? Effect.runPromise(removeParts(key, command))
          : run(Effect.catch(request(command), stop))
      const upload = new Upload({
        client: { config: client.config, send } as unknown as Sdk.S3Client,
        params: {
          Bucket: bucket,
          Key: key,
          Body: body,
          ContentLength: file.bytes,
          Metadata: { sha256: file.sha256 },
        },
        partSize: Math.max(partBytes, Math.ceil(file.bytes / maxParts)),
        queueSize: partsAtOnce,
      })
      done = upload.done()
      yield* Effect.tryPromise({ try: () => done, catch: fail }).pipe(
        Effect.catch(stop),
        Effect.raceFirst(Deferred.await(failed)),
      )
    },
    Effect.scoped,
    (effect) => uploads.withPermits(1)(effect),
  )

  /**
   * Writes a file of a known length and digest, in parts when it is large. `unchanged` is asked before it counts.
   */
  const putFile = Effect.fn("s3Requests.putFile")(function* <E, E2>(
    key: string,
    file: LocalFile,
    fail: (cause: unknown) => E,
    unchanged: Effect.Effect<void, E2>,
  ) {
    if (file.bytes > partBytes) return yield* putParts(key, file, fail, unchanged)
    const bytes = yield* readStart(file.path, file.bytes, fail)
    yield* unchanged
    return yield* put(key, bytes, file.sha256)
  })

  /** Makes an object's time new, by a copy onto itself; not for objects of more than 5 GiB. */
  const touch = (key: string, sha256: string) =>
    retry(
      key,
      call("CopyObject", key, (signal) =>
        client.send(
          new sdk.CopyObjectCommand({
            Bucket: bucket,
            Key: key,
            CopySource: `${bucket}/${key}`,
            MetadataDirective: "REPLACE",
            Metadata: { sha256 },
          }),
          signal,
        ),
      ),
    )

  /** Copies an object under another key, in the bucket; not for objects of more than 5 GiB. */
  const copy = (key: string, to: string) =>
    retry(
      key,
      call("CopyObject", key, (signal) =>
        client.send(
          new sdk.CopyObjectCommand({ Bucket: bucket, Key: to, CopySource: `${bucket}/${key}` }),
          signal,
        ),
      ),
    )

  const remove = (key: string): Effect.Effect<void, S3Error> =>
    Effect.asVoid(
      retry(
        key,
        call("DeleteObject", key, (signal) =>
          client.send(new sdk.DeleteObjectCommand({ Bucket: bucket, Key: key }), signal),
        ),
      ),
    )

  /** Up to `max` objects of a prefix: the first, those after a key, or those after another page. */
  const page = (
    prefix: string,
    from: { readonly after?: string; readonly token?: string } = {},
    max = 1000,
  ) =>
    Effect.map(
      insist(
        prefix,
        call("ListObjectsV2", prefix, (signal) =>
          client.send(
            new sdk.ListObjectsV2Command({
              Bucket: bucket,
              MaxKeys: max,
              ...(prefix === "" ? {} : { Prefix: prefix }),
              ...(from.after === undefined ? {} : { StartAfter: from.after }),
              ...(from.token === undefined ? {} : { ContinuationToken: from.token }),
            }),
            signal,
          ),
        ),
      ),
      ({ Contents, IsTruncated, NextContinuationToken }) => ({
        listed: (Contents ?? []).map(({ Key, LastModified, Size }): Listed => ({
          key: Key ?? "",
          bytes: Size ?? 0,
          modifiedMs: LastModified?.getTime() ?? 0,
        })),
        more: IsTruncated === true,
        token: IsTruncated === true ? NextContinuationToken : undefined,
      }),
    )

  /** Every object of a prefix. */
  const list = (prefix: string): Stream.Stream<Listed, S3Error> =>
    Stream.paginate(undefined as string | undefined, (token) =>
      Effect.map(
        page(prefix, token === undefined ? {} : { token }),
        (got) => [got.listed, Option.fromNullishOr(got.token)] as const,
      ),
    )

  /** Learns from a small object that was read what its server's ETags are. */
  const learn = ({ bytes, etag }: { readonly bytes: Uint8Array; readonly etag: string | undefined }) => {
    etagIsMd5 = options.endpoint !== undefined && etag === md5Of(bytes)
  }

  return { urlOf, head, read, get, put, putFile, touch, copy, remove, page, list, retry, learn }
})

const shorter = (): Error => new Error("it is shorter than it was")

const md5Of = (bytes: Uint8Array): string => createHash("md5").update(bytes).digest("hex")

/** The first bytes of a file. */
const readStart = <E>(path: string, bytes: number, fail: (cause: unknown) => E) =>
  Effect.flatMap(
    Effect.tryPromise({ try: (signal) => fs.promises.readFile(path, { signal }), catch: fail }),
    (content) =>
      content.length < bytes ? Effect.fail(fail(shorter())) : Effect.succeed(content.subarray(0, bytes)),
  )
