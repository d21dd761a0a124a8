/**
 * A server for S3 in this process, and a proxy before it that fails as networks and servers do.
 *
 * The proxy reads a whole request, then decides: it answers with an error, ends the connection, says nothing, or
 * forwards it, and may lose, cut short or change the answer. What it does is the same on every run of as many requests.
 */
import fs from "node:fs"
import http from "node:http"
import type { AddressInfo } from "node:net"
import os from "node:os"
import { join } from "node:path"
import { Effect } from "effect"
import S3rver from "s3rver"
import type { StoreLocation } from "../src/index.ts"

// The only ones that s3rver knows.
Object.assign(process.env, {
  AWS_ACCESS_KEY_ID: "S3RVER",
  AWS_SECRET_ACCESS_KEY: "S3RVER",
  AWS_REGION: "us-east-1",
  AWS_EC2_METADATA_DISABLED: "true",
})

export const bucket = "bucket"

export const temporary = Effect.acquireRelease(
  Effect.sync(() => fs.mkdtempSync(join(os.tmpdir(), "reelgraph-test-"))),
  (path) => Effect.sync(() => fs.rmSync(path, { recursive: true, force: true })),
)

export interface Server {
  readonly endpoint: string
  /** Where it keeps an object. */
  readonly pathOf: (key: string) => string
  readonly location: (prefix: string) => StoreLocation.Bucket
  readonly close: () => Promise<void>
}

export const locationAt = (endpoint: string, prefix: string): StoreLocation.Bucket => ({
  _tag: "Bucket",
  bucket,
  prefix,
  endpoint,
  region: undefined,
  pathStyle: true,
  timeoutMs: undefined,
})

export const start = async (): Promise<Server> => {
  const directory = fs.mkdtempSync(join(os.tmpdir(), "reelgraph-s3-"))
  const server = new S3rver({
    port: 0,
    address: "127.0.0.1",
    silent: true,
    directory,
    configureBuckets: [{ name: bucket, configs: [] }],
  })
  const { port } = await server.run()
  const endpoint = `http://127.0.0.1:${port}`
  return {
    endpoint,
    pathOf: (key) => join(directory, bucket, `${key}._S3rver_object`),
    location: (prefix) => locationAt(endpoint, prefix),
    close: async () => {
      await server.close()
      fs.rmSync(directory, { recursive: true, force: true })
    },
  }
}

export type FaultKind = "500" | "503" | "reset" | "lost" | "silent" | "cut" | "short" | "flip"

export interface Answer {
  readonly status: number
  readonly headers?: Record<string, string>
  readonly code: string
}

export interface ProxyOptions {
  /** Of all requests, from 0 to 1. */
  readonly fraction?: number
  readonly kinds?: ReadonlyArray<FaultKind>
  /** Answers a request itself. */
  readonly answer?: (method: string, url: string) => Answer | undefined
  /** Waits before a request is passed on. */
  readonly hold?: (method: string, url: string) => Promise<void> | undefined
  /** Of contents, in each direction; all requests share it. @default no limit */
  readonly bytesPerSecond?: number
}

export interface Proxy {
  readonly endpoint: string
  /** Requests that came, as `PUT /bucket/key`. */
  readonly requests: Array<string>
  readonly faults: Map<FaultKind, number>
  readonly close: () => Promise<void>
}

const allKinds: ReadonlyArray<FaultKind> = ["500", "503", "reset", "lost", "silent", "cut", "short", "flip"]

const errorXml = (code: string): string =>
  `<?xml version="1.0" encoding="UTF-8"?>\n<Error><Code>${code}</Code><Message>said the test</Message></Error>`

const bodyOf = async (stream: http.IncomingMessage): Promise<Buffer> => {
  const chunks: Array<Buffer> = []
  for await (const chunk of stream) chunks.push(chunk as Buffer)
  return Buffer.concat(chunks)
}

/** One direction of a network that is as slow as this: contents pass one after the other. */
const startLink = (bytesPerSecond: number | undefined) => {
  let freeMs = 0
  return (bytes: number): Promise<void> => {
    if (bytesPerSecond === undefined) return Promise.resolve()
    freeMs = Math.max(freeMs, performance.now()) + (bytes / bytesPerSecond) * 1000
    return new Promise((resolve) => setTimeout(resolve, Math.max(1, freeMs - performance.now())))
  }
}

const flipped = (body: Buffer, at: number): Buffer => {
  const copy = Buffer.from(body)
  copy[at] = (copy[at] ?? 0) ^ 4
  return copy
}

export const startProxy = async (target: string, options: ProxyOptions = {}): Promise<Proxy> => {
  const { hostname, port } = new URL(target)
  const agent = new http.Agent({ keepAlive: true })
  const requests: Array<string> = []
  const faults = new Map<FaultKind, number>()
  const silent = new Set<http.ServerResponse>()
  const kinds = options.kinds ?? allKinds
  const up = startLink(options.bytesPerSecond)
  const down = startLink(options.bytesPerSecond)
  // Mulberry32: the next number does not tell of the one after it.
  let state = 12345
  const random = (): number => {
    state = (state + 0x6d2b79f5) | 0
    let mixed = Math.imul(state ^ (state >>> 15), 1 | state)
    mixed = (mixed + Math.imul(mixed ^ (mixed >>> 7), 61 | mixed)) ^ mixed
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 4294967296
  }

  const forward = (request: http.IncomingMessage, body: Buffer) =>
    new Promise<{ readonly answer: http.IncomingMessage; readonly content: Buffer }>((resolve, reject) => {
      const { headers, method, url } = request
      const out = http.request({ agent, hostname, port, method, path: url, headers }, (answer) => {
        bodyOf(answer).then((content) => resolve({ answer, content }), reject)
      })
      out.on("error", reject)
      out.end(body)
    })

  const serve = async (request: http.IncomingMessage, response: http.ServerResponse): Promise<void> => {
    const method = request.method ?? ""
    const url = request.url ?? ""
    requests.push(`${method} ${url}`)
    const body = await bodyOf(request)
    const own = options.answer?.(method, url)
    if (own !== undefined) {
      response.writeHead(own.status, { "content-type": "application/xml", ...own.headers })
      return void response.end(method === "HEAD" ? "" : errorXml(own.code))
    }
    const isListing = url.includes("list-type=2")
    const isBody = !isListing && (method === "GET" || (method === "PUT" && body.length > 0))
    const possible = kinds.filter((kind) => isBody || !["cut", "short", "flip"].includes(kind))
    const fault =
      random() < (options.fraction ?? 0) ? possible[Math.floor(random() * possible.length)] : undefined
    if (fault !== undefined) faults.set(fault, (faults.get(fault) ?? 0) + 1)
    if (fault === "500" || fault === "503") {
      response.writeHead(Number(fault), { "content-type": "application/xml" })
      return void response.end(
        method === "HEAD" ? "" : errorXml(fault === "500" ? "InternalError" : "SlowDown"),
      )
    }
    if (fault === "silent") return void silent.add(response)
    // A request that is cut short never becomes an object.
    if (fault === "reset" || ((fault === "cut" || fault === "short") && method === "PUT"))
      return void request.socket.destroy()
    const sent =
      fault === "flip" && method === "PUT" ? flipped(body, Math.floor(random() * body.length)) : body
    await options.hold?.(method, url)
    await up(sent.length)
    const { answer, content } = await forward(request, sent)
    await down(content.length)
    if (fault === "lost") return void request.socket.destroy()
    const isObject =
      method === "GET" && (answer.statusCode === 200 || answer.statusCode === 206) && content.length > 0
    const half = content.subarray(0, Math.floor(content.length / 2))
    if (fault === "cut" && isObject) {
      response.writeHead(answer.statusCode!, answer.headers)
      return void response.write(half, () => request.socket.destroy())
    }
    if (fault === "short" && isObject) {
      response.writeHead(answer.statusCode!, { ...answer.headers, "content-length": String(half.length) })
      return void response.end(half)
    }
    response.writeHead(answer.statusCode!, answer.headers)
    response.end(
      fault === "flip" && isObject ? flipped(content, Math.floor(random() * content.length)) : content,
    )
  }

  const server = http.createServer((request, response) => {
    serve(request, response).catch(() => request.socket.destroy())
  })
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve))
  return {
    endpoint: `http://127.0.0.1:${(server.address() as AddressInfo).port}`,
    requests,
    faults,
    close: () =>
      new Promise((resolve) => {
        agent.destroy()
        server.close(() => resolve())
        server.closeAllConnections()
      }),
  }
}

export const proxy = (target: string, options: ProxyOptions = {}) =>
  Effect.acquireRelease(
    Effect.promise(() => startProxy(target, options)),
    (started) => Effect.promise(() => started.close()),
  )
