/**
 * Safetensors files: eight bytes of header length (u64, little endian), a JSON header, then the tensors' bytes.
 * Format: the `safetensors` project's README; the checks are those of its Rust reader (`tensor.rs`), which refuses
 * gaps, overlaps and headers over 100 MB.
 *
 * A header is not trusted: nothing is allocated that the file does not hold, offsets have to cover the data without
 * gap or overlap, and every size has to be what dtype and shape say.
 */
import { randomBytes } from "node:crypto"
import fs from "node:fs"

import * as Effect from "effect/Effect"
import * as Schema from "effect/Schema"
import type * as Scope from "effect/Scope"

import * as DType from "./DType.ts"
import * as Half from "./Half.ts"
import * as Shape from "./Shape.ts"
import * as Tensor from "./Tensor.ts"

/** The longest header that is read: 100 MB, as in the format's own reader. */
export const maxHeaderBytes = 100_000_000

const names: { readonly [D in DType.DType]: string } = {
  f64: "F64",
  f32: "F32",
  f16: "F16",
  bf16: "BF16",
  i64: "I64",
  i32: "I32",
  i16: "I16",
  i8: "I8",
  u8: "U8",
  bool: "BOOL",
}

/** What is wrong with a file, by kind. */
export const Problem = Schema.Literals([
  "Truncated",
  "HeaderTooLarge",
  "BadJson",
  "BadEntry",
  "Overlapping",
  "Gap",
])
export type Problem = typeof Problem.Type

/** The file is not what the format says. */
export class SafetensorsInvalid extends Schema.TaggedError<SafetensorsInvalid>()("SafetensorsInvalid", {
  path: Schema.String,
  reason: Problem,
  detail: Schema.String,
}) {
  override get message() {
    return `${this.path} is no whole safetensors file: ${this.detail}`
  }
}

/** The file system refused. */
export class SafetensorsUnreadable extends Schema.TaggedError<SafetensorsUnreadable>()(
  "SafetensorsUnreadable",
  { path: Schema.String, cause: Schema.Defect() },
) {
  override get message() {
    return `cannot use ${this.path}: ${(this.cause as Partial<Error>).message ?? "no reason is known"}`
  }
}

/** There is no tensor of that name. */
export class TensorMissing extends Schema.TaggedError<TensorMissing>()("TensorMissing", {
  path: Schema.String,
  tensor: Schema.String,
  /** Some that there are. */
  present: Schema.Array(Schema.String),
}) {
  override get message() {
    return `${this.path} has no tensor ${this.tensor}; it has ${this.present.join(", ")}`
  }
}

/** A tensor is there, of another type or shape than was asked for, or holds numbers that are not finite. */
export class TensorMismatch extends Schema.TaggedError<TensorMismatch>()("TensorMismatch", {
  path: Schema.String,
  tensor: Schema.String,
  expected: Schema.String,
  found: Schema.String,
}) {
  override get message() {
    return `tensor ${this.tensor} of ${this.path} is ${this.found}, not ${this.expected}`
  }
}

/** Where a tensor is: type, shape and its bytes from the beginning of the data. */
export interface Entry {
  readonly dtype: DType.DType
  readonly shape: ReadonlyArray<number>
  readonly begin: number
  readonly end: number
}

export interface Header {
  readonly entries: ReadonlyMap<string, Entry>
  readonly metadata: { readonly [key: string]: string }
  /** Where the data begins in the file. */
  readonly dataStart: number
}

const isRecord = (value: unknown): value is Record<string, unknown> =>
  typeof value === "object" && value !== null && !Array.isArray(value)

const isSize = (value: unknown): value is number => Number.isSafeInteger(value) && (value as number) >= 0

const dtypeOf = (name: unknown): DType.DType | undefined => DType.all.find((dtype) => names[dtype] === name)

type Refuse = (reason: Problem, detail: string) => never

const entryOf = (name: string, value: unknown, dataBytes: number, refuse: Refuse): Entry => {
  const of = (detail: string) => `tensor ${JSON.stringify(name)} ${detail}`
  if (!isRecord(value)) return refuse("BadEntry", of("is not described by an object"))
  const { data_offsets: offsets, dtype: typeName, shape } = value
  const dtype = dtypeOf(typeName)
  if (dtype === undefined) return refuse("BadEntry", of(`has the unknown dtype ${String(typeName)}`))
  if (!Array.isArray(shape) || !shape.every(isSize))
    return refuse("BadEntry", of("has no shape of whole numbers"))
  if (!Array.isArray(offsets) || offsets.length !== 2 || !offsets.every(isSize))
    return refuse("BadEntry", of("has no data_offsets of two whole numbers"))
  const [begin, end] = offsets as [number, number]
  const bytes = Shape.size(shape) * DType.bytesOf(dtype)
  if (!Number.isSafeInteger(bytes)) return refuse("BadEntry", of("is too large for its size to be a number"))
  if (end > dataBytes) return refuse("Truncated", of(`ends at byte ${end} of ${dataBytes} bytes of data`))
  if (end - begin !== bytes)
    return refuse("BadEntry", of(`takes ${bytes} bytes, its offsets hold ${end - begin}`))
  return { dtype, shape, begin, end }
}

const metadataOf = (value: unknown, refuse: Refuse): { readonly [key: string]: string } => {
  if (value === undefined) return {}
  if (!isRecord(value) || !Object.values(value).every((each) => typeof each === "string"))
    return refuse("BadEntry", "__metadata__ is not an object of strings")
  return value as Record<string, string>
}

/** Refuses data that is not covered exactly once. */
const checkCover = (entries: ReadonlyMap<string, Entry>, dataBytes: number, refuse: Refuse): void => {
  let covered = 0
  const inOrder = [...entries].toSorted(([, a], [, b]) => a.begin - b.begin || a.end - b.end)
  for (const [name, { begin, end }] of inOrder) {
    if (begin < covered)
      refuse(
        "Overlapping",
        `tensor ${JSON.stringify(name)} begins at byte ${begin}, inside the one before it`,
      )
    if (begin > covered) refuse("Gap", `bytes ${covered} to ${begin} belong to no tensor`)
    covered = end
  }
  if (covered < dataBytes) refuse("Gap", `bytes ${covered} to ${dataBytes} belong to no tensor`)
}

/** The header's length, when the file is long enough for it. */
const headerLength = (prefix: Uint8Array, fileBytes: number, refuse: Refuse): number => {
  if (fileBytes < 8) return refuse("Truncated", `it has ${fileBytes} bytes, a header's length takes 8`)
  const length = new DataView(prefix.buffer, prefix.byteOffset, 8).getBigUint64(0, true)
  if (length > BigInt(maxHeaderBytes))
    return refuse(
      "HeaderTooLarge",
      `its header would have ${length} bytes, at most ${maxHeaderBytes} are read`,
    )
  if (8 + Number(length) > fileBytes)
    return refuse("Truncated", `its header would have ${length} bytes, the file has ${fileBytes}`)
  return Number(length)
}

const parse = (json: Uint8Array, fileBytes: number, refuse: Refuse): Header => {
  const dataStart = 8 + json.length
  const dataBytes = fileBytes - dataStart
  const parsed = jsonOf(json, refuse)
  if (!isRecord(parsed)) return refuse("BadJson", "its header is not a JSON object")
  const { __metadata__, ...tensors } = parsed
  const entries = new Map(
    Object.entries(tensors).map(([name, value]) => [name, entryOf(name, value, dataBytes, refuse)]),
  )
  checkCover(entries, dataBytes, refuse)
  return { entries, metadata: metadataOf(__metadata__, refuse), dataStart }
}

const jsonOf = (json: Uint8Array, refuse: Refuse): unknown => {
  if (json[0] !== 0x7b) return refuse("BadJson", "its header does not begin with {")
  try {
    return JSON.parse(new TextDecoder("utf-8", { fatal: true }).decode(json))
  } catch (cause) {
    return refuse("BadJson", `its header is not JSON: ${(cause as Error).message}`)
  }
}

const refuseIn =
  (path: string): Refuse =>
  (reason, detail) => {
    throw new SafetensorsInvalid({ path, reason, detail })
  }

/** From what was thrown by the checks or by the file system. */
const failure =
  (path: string) =>
  (cause: unknown): SafetensorsInvalid | SafetensorsUnreadable =>
    cause instanceof SafetensorsInvalid ? cause : new SafetensorsUnreadable({ path, cause })

/** A tensor over bytes, copied only when they do not lie at a multiple of the element's size. */
const tensorOf = ({ dtype, shape }: Entry, bytes: Uint8Array): Tensor.Tensor => {
  const size = Shape.size(shape)
  // A new array even of a Buffer, whose `slice` is a view.
  const aligned = bytes.byteOffset % DType.bytesOf(dtype) === 0 ? bytes : new Uint8Array(bytes)
  return Tensor.make(dtype, shape, DType.view(dtype, aligned.buffer, aligned.byteOffset, size))
}

/** What a tensor has to be. */
export interface Expectation<D extends DType.DType> {
  /** Refused when it is another. */
  readonly dtype?: D
  readonly shape?: ReadonlyArray<number>
  /** Refuses NaN and infinite numbers. @default false */
  readonly finite?: boolean
}

const firstNotFinite = (tensor: Tensor.Tensor): number => {
  if (!DType.isFloat(tensor.dtype)) return -1
  const { data, dtype } = tensor
  const values =
    dtype === "f16" || dtype === "bf16" ? Half.toFloat32(dtype, data as Uint16Array) : (data as Float32Array)
  return values.findIndex((value) => !Number.isFinite(value))
}

const expectationFailure = (
  path: string,
  tensor: string,
  found: { readonly dtype: DType.DType; readonly shape: ReadonlyArray<number> },
  expected: Expectation<DType.DType>,
): TensorMismatch | undefined => {
  const show = (dtype: string, shape: ReadonlyArray<number>) => `${dtype} ${Shape.show(shape)}`
  const dtype = expected.dtype ?? found.dtype
  const shape = expected.shape ?? found.shape
  return dtype === found.dtype && Shape.equal(shape, found.shape)
    ? undefined
    : new TensorMismatch({
        path,
        tensor,
        expected: show(dtype, shape),
        found: show(found.dtype, found.shape),
      })
}

/** An open file, whose tensors are read one at a time. */
export interface Reader extends Header {
  readonly path: string
  readonly read: <D extends DType.DType = DType.DType>(
    name: string,
    expected?: Expectation<D>,
  ) => Effect.Effect<
    Tensor.Tensor<D>,
    TensorMissing | TensorMismatch | SafetensorsInvalid | SafetensorsUnreadable
  >
  /** A floating point tensor as float32, whatever type it is kept in. */
  readonly readF32: (
    name: string,
    expected?: Omit<Expectation<"f32">, "dtype">,
  ) => Effect.Effect<
    Tensor.Tensor<"f32">,
    TensorMissing | TensorMismatch | SafetensorsInvalid | SafetensorsUnreadable
  >
}

/** Fills `into` from a place in the file; throws when the file ends before. */
const readFully = (fd: number, into: Uint8Array, position: number, refuse: Refuse): void => {
  let done = 0
  while (done < into.length) {
    const count = fs.readSync(fd, into, done, into.length - done, position + done)
    if (count === 0) refuse("Truncated", `the file ends at byte ${position + done}`)
    done += count
  }
}

const readerOf = (path: string, header: Header, bytesOf: (entry: Entry) => Uint8Array): Reader => {
  const read: Reader["read"] = <D extends DType.DType>(name: string, expected: Expectation<D> = {}) =>
    Effect.gen(function* () {
      const entry = header.entries.get(name)
      if (entry === undefined)
        return yield* new TensorMissing({
          path,
          tensor: name,
          present: [...header.entries.keys()].slice(0, 8),
        })
      const mismatch = expectationFailure(path, name, entry, expected)
      if (mismatch !== undefined) return yield* mismatch
      const tensor = yield* Effect.try({
        try: () => tensorOf(entry, bytesOf(entry)),
        catch: failure(path),
      })
      const at = expected.finite === true ? firstNotFinite(tensor) : -1
      if (at >= 0)
        return yield* new TensorMismatch({
          path,
          tensor: name,
          expected: "finite everywhere",
          found: `not finite at element ${at}`,
        })
      return tensor as Tensor.Tensor<D>
    })
  return {
    ...header,
    path,
    read,
    readF32: (name, expected = {}) =>
      Effect.flatMap(read(name, expected), (tensor) => {
        if (tensor.dtype === "f32") return Effect.succeed(tensor as Tensor.Tensor<"f32">)
        if (!DType.isFloat(tensor.dtype))
          return new TensorMismatch({
            path,
            tensor: name,
            expected: "a floating point type",
            found: tensor.dtype,
          })
        return Effect.succeed(toF32(tensor))
      }),
  }
}

const toF32 = ({ data, dtype, shape }: Tensor.Tensor): Tensor.Tensor<"f32"> =>
  Tensor.make(
    "f32",
    shape,
    dtype === "f16" || dtype === "bf16"
      ? Half.toFloat32(dtype, data as Uint16Array)
      : Float32Array.from(data as Float64Array),
  )

/** Opens a file: reads and checks its header; tensors are read when they are asked for. */
export const open = (
  path: string,
): Effect.Effect<Reader, SafetensorsInvalid | SafetensorsUnreadable, Scope.Scope> =>
  Effect.gen(function* () {
    const attempt = <A>(body: () => A) => Effect.try({ try: body, catch: failure(path) })
    const fd = yield* Effect.acquireRelease(
      attempt(() => fs.openSync(path, "r")),
      (fd) => Effect.sync(() => fs.closeSync(fd)),
    )
    const refuse = refuseIn(path)
    const header = yield* attempt(() => {
      const { size } = fs.fstatSync(fd)
      const prefix = new Uint8Array(8)
      if (size >= 8) readFully(fd, prefix, 0, refuse)
      const json = new Uint8Array(headerLength(prefix, size, refuse))
      readFully(fd, json, 8, refuse)
      return parse(json, size, refuse)
    })
    return readerOf(path, header, ({ begin, end }) => {
      const bytes = new Uint8Array(end - begin)
      readFully(fd, bytes, header.dataStart + begin, refuse)
      return bytes
    })
  })

/** The same over bytes in memory; tensors are views of them where alignment allows. `name` is for errors. */
export const decode = (bytes: Uint8Array, name = "bytes"): Effect.Effect<Reader, SafetensorsInvalid> =>
  Effect.try({
    try: () => {
      const refuse = refuseIn(name)
      const length = headerLength(bytes, bytes.length, refuse)
      const header = parse(bytes.subarray(8, 8 + length), bytes.length, refuse)
      return readerOf(name, header, ({ begin, end }) =>
        bytes.subarray(header.dataStart + begin, header.dataStart + end),
      )
    },
    catch: (cause) => cause as SafetensorsInvalid,
  })

export interface Contents {
  readonly tensors: { readonly [name: string]: Tensor.Tensor }
  readonly metadata?: { readonly [key: string]: string }
}

/** The order of data in a file, as the format's own writer has it: so every tensor is aligned. */
const order: ReadonlyArray<DType.DType> = [
  "i64",
  "f64",
  "f32",
  "i32",
  "bf16",
  "f16",
  "i16",
  "i8",
  "u8",
  "bool",
]

/** The header's bytes, and the tensors in the order their data follows: by type and then by name. */
const layout = ({ metadata = {}, tensors }: Contents) => {
  const ordered = Object.entries(tensors).toSorted(
    ([a, { dtype: x }], [b, { dtype: y }]) =>
      order.indexOf(x) - order.indexOf(y) || (a < b ? -1 : a > b ? 1 : 0),
  )
  let offset = 0
  const described = ordered.map(([name, { data, dtype, shape }]) => {
    const begin = offset
    offset += data.byteLength
    return [name, { dtype: names[dtype], shape, data_offsets: [begin, offset] }] as const
  })
  const sorted = Object.entries(metadata).toSorted(([a], [b]) => (a < b ? -1 : 1))
  const json = JSON.stringify({
    ...(sorted.length === 0 ? {} : { __metadata__: Object.fromEntries(sorted) }),
    ...Object.fromEntries(described),
  })
  const text = Buffer.from(json)
  const length = Math.ceil(text.length / 8) * 8
  const header = Buffer.alloc(8 + length, " ")
  header.writeBigUInt64LE(BigInt(length), 0)
  header.set(text, 8)
  return { header, ordered, bytes: header.length + offset }
}

/** The bytes of a file: the same for the same tensors and metadata, in whatever order they are given. */
export const encode = (contents: Contents): Uint8Array => {
  const { bytes, header, ordered } = layout(contents)
  const file = new Uint8Array(bytes)
  file.set(header)
  let offset = header.length
  for (const [, tensor] of ordered) {
    file.set(Tensor.bytes(tensor), offset)
    offset += tensor.data.byteLength
  }
  return file
}

/** Writes a file tensor by tensor: beside it first, then in its place, so that no reader sees half of one. */
export const write = (path: string, contents: Contents): Effect.Effect<void, SafetensorsUnreadable> =>
  Effect.try({
    try: () => {
      const { header, ordered } = layout(contents)
      const temporary = `${path}.${randomBytes(6).toString("hex")}.part`
      try {
        const fd = fs.openSync(temporary, "wx")
        try {
          writeFully(fd, header)
          for (const [, tensor] of ordered) writeFully(fd, Tensor.bytes(tensor))
          fs.fsyncSync(fd)
        } finally {
          fs.closeSync(fd)
        }
        fs.renameSync(temporary, path)
      } catch (cause) {
        fs.rmSync(temporary, { force: true })
        throw cause
      }
    },
    catch: (cause) => new SafetensorsUnreadable({ path, cause }),
  })

const writeFully = (fd: number, bytes: Uint8Array): void => {
  let done = 0
  while (done < bytes.length) done += fs.writeSync(fd, bytes, done, bytes.length - done)
}
