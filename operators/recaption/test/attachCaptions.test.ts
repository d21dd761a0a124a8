/** Captions that are found by name, and text that is no caption. */
import { assert, describe, it } from "@effect/vitest"
import { Drop, type Port } from "@reelgraph/core"
import { Clip, type CaptionFile } from "@reelgraph/operators/ports"
import { AttachCaptions } from "@reelgraph/operators/recaption"
import { BlobStore, BlobStoreMemory } from "@reelgraph/store"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"

import { measured, summary } from "../../filter/test/records.ts"

type File = Port.RecordOf<typeof CaptionFile>

const clip = (name: string): Port.RecordOf<typeof Clip> => ({
  name,
  source: measured.file,
  window: { shot: 0, startSeconds: 0, endSeconds: 5 },
  clip: measured.file,
  width: 1280,
  height: 720,
  fps: 24,
  frames: 120,
  sourceFrames: 120,
  summary,
  fingerprint: [],
})

const { operator, value } = AttachCaptions()

const file = (name: string, text: string | Uint8Array) =>
  Effect.map(
    BlobStore.use((blobs) =>
      blobs.putBytes(typeof text === "string" ? new TextEncoder().encode(text) : text, "text/plain"),
    ),
    (file): File => ({ name, file }),
  )

/** The captions of a clip, or the reason of its drop. */
const attach = (name: string, captions: ReadonlyArray<File>): Effect.Effect<any, never, BlobStore> =>
  Effect.match(operator.run(clip(name), value, { sides: { captions } } as never), {
    onSuccess: (made) => made.captions,
    onFailure: (error) => (error instanceof Drop ? error.reason : error),
  }) as never

describe("AttachCaptions", () => {
  it.effect("takes the lines of the file that is called like the video", () =>
    Effect.gen(function* () {
      const files = [
        yield* file("beach.txt", "\ufeffa dog runs on the beach\r\n\r\n  ein Hund läuft am Strand \n"),
        yield* file("beach.day.txt", "the sea by day"),
        yield* file("empty.txt", " \n\n"),
        yield* file("once.txt", "one"),
        yield* file("once.txt", "one"),
        yield* file("twice.txt", "one"),
        yield* file("twice.txt", "two"),
      ]
      assert.deepStrictEqual(yield* attach("beach.mp4", files), [
        "a dog runs on the beach",
        "ein Hund läuft am Strand",
      ])
      assert.deepStrictEqual(yield* attach("beach.day.mkv", files), ["the sea by day"])
      assert.deepStrictEqual(yield* attach("once.mp4", files), ["one"])
      assert.strictEqual(yield* attach("beach.night.mp4", files), "no-caption")
      assert.strictEqual(yield* attach("empty.mp4", files), "no-caption")
      assert.strictEqual(yield* attach("twice.mp4", files), "ambiguous-caption")
      const whole = yield* operator.run(clip("once.mp4"), value, { sides: { captions: files } } as never)
      assert.deepStrictEqual(whole, { ...clip("once.mp4"), captions: ["one"] })
    }).pipe(Effect.provide(BlobStoreMemory.layer)),
  )

  it.effect.each([
    ["no UTF-8", Uint8Array.of(0x61, 0xff, 0x62), "bad-caption"],
    ["a zero", "a\0b", "bad-caption"],
    ["an escape", "a\u001b[31m", "bad-caption"],
    ["16 captions", "a\n".repeat(16), 16],
    ["17 captions", "a\n".repeat(17), "bad-caption"],
    ["2,000 characters", "a".repeat(2000), 1],
    ["2,001 characters", "a".repeat(2001), "bad-caption"],
    ["64 KiB and a byte", "\n".repeat(65_537), "bad-caption"],
  ] as const)("has bounds: %s", ([, text, expected]) =>
    Effect.gen(function* () {
      const found = yield* attach("clip.mp4", [yield* file("clip.txt", text)])
      assert.strictEqual(typeof found === "string" ? found : found.length, expected)
    }).pipe(Effect.provide(BlobStoreMemory.layer)),
  )

  it.effect("looks at every name once for all clips, and reads no other file", () =>
    Effect.gen(function* () {
      const one = yield* file("clip-0.txt", "a caption")
      let looks = 0
      const named = (i: number): File => ({
        get name() {
          looks++
          return `clip-${i}.txt`
        },
        // Only the first file is in the store.
        file: i === 0 ? one.file : measured.file,
      })
      const files = Array.from({ length: 1000 }, (_, i) => named(i))
      for (let i = 0; i < 1000; i++) assert.deepStrictEqual(yield* attach("clip-0.mp4", files), ["a caption"])
      assert.strictEqual(looks, 1000)
      const missing = yield* Effect.exit(
        operator.run(clip("clip-1.mp4"), value, { sides: { captions: files } } as never),
      )
      assert.isTrue(Exit.isFailure(missing))
    }).pipe(Effect.provide(BlobStoreMemory.layer)),
  )
})
