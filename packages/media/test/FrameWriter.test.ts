import { assert, describe, it } from "@effect/vitest"
import { Effect, Exit, Fiber } from "effect"
import { hash } from "node:crypto"
import { existsSync, readFileSync } from "node:fs"
import { join } from "node:path"
import { FrameWriter, Standardize, Verify } from "../src/index.ts"
import { lumaPlanes, mean, scratch } from "./films.ts"

const folder = scratch()
const at = (name: string): string => join(folder, name)
const digest = (path: string): string => hash("sha256", readFileSync(path))

/** One colour that rises with time. */
const grey =
  (frames: number): FrameWriter.Paint =>
  (index, into) =>
    void into.fill(Math.round((255 * index) / (frames - 1)))

const limit = 120_000

describe("FrameWriter", () => {
  it.live(
    "writes as many frames as asked for, in BT.709 limited range, the same bytes again",
    () =>
      Effect.gen(function* () {
        const target: Standardize.Target = { width: 160, height: 90, fps: 24, frames: 25 }
        const source = { width: 32, height: 18, target, encoder: { crf: 8 } }
        yield* FrameWriter.write({ ...source, out: at("a.mp4") }, grey(25))
        yield* FrameWriter.write({ ...source, out: at("b.mp4") }, grey(25))
        assert.strictEqual(digest(at("a.mp4")), digest(at("b.mp4")))
        yield* Verify.verifyClip(at("a.mp4"), target)
        const lumas = (yield* lumaPlanes(at("a.mp4"))).map(mean)
        // Black is 16 and white 235.
        lumas.forEach((luma, i) => assert.closeTo(luma, 16 + (219 * i) / 24, 1.5))
      }),
    limit,
  )

  it.live(
    "interpolates between pixels instead of repeating them",
    () =>
      Effect.gen(function* () {
        const target: Standardize.Target = { width: 256, height: 64, fps: 24, frames: 1 }
        const ramp: FrameWriter.Paint = (_, into) => {
          for (let i = 0; i < into.length; i++) into[i] = 16 * (Math.floor(i / 3) % 16)
        }
        yield* FrameWriter.write(
          { width: 16, height: 4, target, out: at("ramp.mp4"), encoder: { crf: 0 } },
          ramp,
        )
        const [plane] = yield* lumaPlanes(at("ramp.mp4"))
        const row = [...plane!.subarray(256 * 32, 256 * 33)].slice(32, 224)
        for (let i = 1; i < row.length; i++) assert.isAtMost(Math.abs(row[i]! - row[i - 1]!), 3)
      }),
    limit,
  )

  it.live(
    "leaves no file behind when it fails or is interrupted",
    () =>
      Effect.gen(function* () {
        const target = { ...Standardize.standardTarget, frames: 100_000 }
        const out = at("long.mp4")
        const writing = yield* Effect.forkChild(
          FrameWriter.write({ width: 16, height: 16, target, out }, grey(100_000)),
        )
        // 100,000 frames take minutes: it has begun, and is not done.
        while (!existsSync(out)) yield* Effect.sleep("2 millis")
        assert.isUndefined(writing.pollUnsafe())
        yield* Fiber.interrupt(writing)
        assert.isFalse(existsSync(out))
        const nowhere = yield* Effect.flip(
          FrameWriter.write({ width: 16, height: 16, target, out: at("no/where.mp4") }, grey(2)),
        )
        assert.strictEqual(nowhere._tag, "Unwritable")
        const odd = yield* Effect.exit(
          FrameWriter.write(
            { width: 16, height: 16, target: { ...target, width: 161 }, out: at("odd.mp4") },
            grey(2),
          ),
        )
        assert.isTrue(Exit.isFailure(odd))
        assert.isFalse(existsSync(at("odd.mp4")))
      }),
    limit,
  )
})
