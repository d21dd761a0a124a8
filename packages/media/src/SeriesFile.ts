/**
 * Measures of a video as a Parquet file: one row for each frame, read by DuckDB, pandas and Polars. Columns of what
 * is only looked at now and then are null in between.
 */
import * as Effect from "effect/Effect"
import * as Schema from "effect/Schema"
import { parquetMetadata, parquetReadObjects } from "hyparquet"
import { parquetWriteBuffer } from "hyparquet-writer"

import type { FrameSeries } from "./FrameSeries.ts"

/** Bytes that are not such a file. */
export class SeriesInvalid extends Schema.TaggedError<SeriesInvalid>()("SeriesInvalid", {
  problem: Schema.String,
}) {
  override get message(): string {
    return `not a file of measures: ${this.problem}; measure the video again`
  }
}

/** Most frames that are read: as many as `measure` writes. */
const maxFrames = 2_000_000

const Header = Schema.Struct({ stepSeconds: Schema.Finite, codedWidth: Schema.Int, codedHeight: Schema.Int })

const perFrame = ["seconds", "sceneScore", "luma", "dark", "difference", "motion"] as const

/** The bytes of a Parquet file. Equal series give equal bytes. */
export const encode = (series: FrameSeries): Uint8Array => {
  const { frame, blur, box, interlaced } = series.samples
  const sampled = <A>(value: (sample: number) => A | null): Array<A | null> => {
    const column = Array.from({ length: series.frames }, (): A | null => null)
    frame.forEach((at, sample) => (column[at] = value(sample)))
    return column
  }
  const side = (offset: number) => sampled((sample) => box[sample * 4 + offset]!)
  const buffer = parquetWriteBuffer({
    columnData: [
      ...perFrame.map((name) => ({
        name,
        data: name === "seconds" ? series.seconds : series[name],
        type: name === "seconds" ? ("DOUBLE" as const) : ("FLOAT" as const),
      })),
      { name: "blur", data: sampled((sample) => blur[sample]!), type: "FLOAT", nullable: true },
      { name: "interlaced", data: sampled((sample) => interlaced[sample]!), type: "INT32", nullable: true },
      { name: "boxX", data: side(0), type: "INT32", nullable: true },
      { name: "boxY", data: side(1), type: "INT32", nullable: true },
      { name: "boxWidth", data: side(2), type: "INT32", nullable: true },
      { name: "boxHeight", data: side(3), type: "INT32", nullable: true },
    ],
    kvMetadata: [
      {
        key: "reelgraph.measures",
        value: JSON.stringify({
          stepSeconds: series.stepSeconds,
          codedWidth: series.codedWidth,
          codedHeight: series.codedHeight,
        }),
      },
    ],
  })
  return new Uint8Array(buffer)
}

/**
 * The series in the bytes of such a file. The bytes must be those that were written, as a store that checks digests
 * makes sure: the Parquet reader does not bound what a damaged page asks for.
 */
export const decode = (bytes: Uint8Array): Effect.Effect<FrameSeries, SeriesInvalid> =>
  Effect.gen(function* () {
    const buffer = bytes.buffer.slice(bytes.byteOffset, bytes.byteOffset + bytes.byteLength) as ArrayBuffer
    const invalid = (cause: unknown) =>
      new SeriesInvalid({ problem: cause instanceof Error ? cause.message : String(cause) })
    const metadata = yield* Effect.try({ try: () => parquetMetadata(buffer), catch: invalid })
    const frames = Number(metadata.num_rows)
    if (frames > maxFrames)
      return yield* new SeriesInvalid({ problem: `${frames} frames, more than ${maxFrames}` })
    const header = yield* Schema.decodeUnknownEffect(Schema.fromJsonString(Header))(
      metadata.key_value_metadata?.find(({ key }) => key === "reelgraph.measures")?.value,
    ).pipe(Effect.mapError(invalid))
    const rows = yield* Effect.tryPromise({
      try: () => parquetReadObjects({ file: buffer, metadata }),
      catch: invalid,
    })
    const samples = rows.flatMap((row, frame) =>
      row["boxX"] === null || row["boxX"] === undefined ? [] : [{ frame, row }],
    )
    const column = (name: (typeof perFrame)[number]) => Float32Array.from(rows, (row) => row[name] as number)
    return {
      frames,
      ...header,
      seconds: Float64Array.from(rows, (row) => row["seconds"] as number),
      sceneScore: column("sceneScore"),
      luma: column("luma"),
      dark: column("dark"),
      difference: column("difference"),
      motion: column("motion"),
      samples: {
        frame: Uint32Array.from(samples, ({ frame }) => frame),
        blur: Float32Array.from(samples, ({ row }) => row["blur"] as number),
        interlaced: Int8Array.from(samples, ({ row }) => row["interlaced"] as number),
        box: Uint16Array.from(
          samples.flatMap(
            ({ row }) => [row["boxX"], row["boxY"], row["boxWidth"], row["boxHeight"]] as Array<number>,
          ),
        ),
      },
    }
  })
