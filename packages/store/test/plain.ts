/** Objects by the SDK's client alone: what a store in a bucket cannot be faster than. */
import fs from "node:fs"
import type { Readable } from "node:stream"
import { pipeline } from "node:stream/promises"
import { GetObjectCommand, PutObjectCommand, S3Client } from "@aws-sdk/client-s3"
import { bucket } from "./s3.ts"

export interface Plain {
  readonly put: (key: string, path: string) => Promise<void>
  readonly get: (key: string, path: string) => Promise<void>
  readonly close: () => void
}

export const open = (endpoint: string): Plain => {
  const client = new S3Client({
    endpoint,
    forcePathStyle: true,
    requestChecksumCalculation: "WHEN_REQUIRED",
    responseChecksumValidation: "WHEN_REQUIRED",
  })
  return {
    put: async (key, path) => {
      const Body = await fs.promises.readFile(path)
      await client.send(new PutObjectCommand({ Bucket: bucket, Key: key, Body }))
    },
    get: async (key, path) => {
      const { Body } = await client.send(new GetObjectCommand({ Bucket: bucket, Key: key }))
      await pipeline(Body as Readable, fs.createWriteStream(path))
    },
    close: () => client.destroy(),
  }
}
