/**
 * The boundary to the native library (node-av, FFmpeg 8.1): return codes, the log level, and the one place
 * where its promises become Effects.
 *
 * The library's low-level calls are used in their synchronous form, with a pause of the event loop every few
 * milliseconds (`Pace`): a call costs no thread hop, so that a clip takes the CPU time of the codecs and little
 * else, and an interruption is seen within one frame. Calls that take a `Dictionary` are used in their
 * asynchronous form only: `open2Sync` of 6.1.1 frees the native dictionary and leaves the wrapper pointing at
 * it, which ends the process at the next garbage collection.
 */
import * as Effect from "effect/Effect"
import { AV_LOG_QUIET, AVERROR_EAGAIN, AVERROR_EOF } from "node-av/constants"
import { FFmpegError, Log } from "node-av/lib"

Log.setLevel(AV_LOG_QUIET)

/** A native call returned an error code. Mapped to a tagged error by whoever knows what it means. */
export class NativeFailure extends Error {
  readonly code: number
  readonly operation: string
  constructor(operation: string, code: number) {
    super(`${operation}: ${FFmpegError.strerror(code)}`)
    this.name = "NativeFailure"
    this.code = code
    this.operation = operation
  }
}

/** Passes a non-negative return code on, throws `NativeFailure` for the others. */
export const check = (operation: string, code: number): number => {
  if (code < 0) throw new NativeFailure(operation, code)
  return code
}

/** True when the code says "no more for now" or "no more at all", false when there is a value; else throws. */
export const isDrained = (operation: string, code: number): boolean => {
  if (code >= 0) return false
  if (code === AVERROR_EAGAIN || code === AVERROR_EOF) return true
  throw new NativeFailure(operation, code)
}

/** Thrown inside the adapter when the caller's signal is aborted. It never reaches a caller. */
export class Aborted extends Error {
  override readonly name = "Aborted"
}

/** Longest time between two pauses of the event loop, apart from a single native call, in milliseconds. */
const SLICE_MS = 12

/** Lets other work of the process run between frames, and stops the work when the signal is aborted. */
export class Pace {
  private readonly signal: AbortSignal
  private since = performance.now()
  constructor(signal: AbortSignal) {
    this.signal = signal
  }
  /** Throws `Aborted` when the caller was interrupted. */
  check(): void {
    if (this.signal.aborted) throw new Aborted()
  }
  /** True when `rest` should be awaited now. */
  get due(): boolean {
    return this.signal.aborted || performance.now() - this.since > SLICE_MS
  }
  /** Gives the event loop one turn. */
  async rest(): Promise<void> {
    await new Promise<void>((resolve) => setImmediate(resolve))
    this.since = performance.now()
    this.check()
  }
}

/** What must be released, in the reverse order of its creation, however the work ends. */
export class Cleanup {
  private readonly releases: Array<() => void> = []
  /** Registers the release of `value` and returns it. */
  add<A>(value: A, release: (value: A) => void): A {
    this.releases.push(() => release(value))
    return value
  }
  /** Runs all releases; one that throws does not keep the others from running. */
  run(): void {
    for (let release = this.releases.pop(); release !== undefined; release = this.releases.pop()) {
      try {
        release()
      } catch {
        // A release that fails leaves nothing to be done; the others must still run.
      }
    }
  }
}

/** Runs `body` with a `Cleanup` that is emptied afterwards. */
export const withCleanup = async <A>(body: (cleanup: Cleanup) => Promise<A>): Promise<A> => {
  const cleanup = new Cleanup()
  try {
    return await body(cleanup)
  } finally {
    cleanup.run()
  }
}

/**
 * An Effect of a promise-returning function of the adapter.
 *
 * `refine` turns what was thrown into the typed error, or returns undefined for a defect. On interruption the
 * signal is aborted and the interruption waits until everything is released.
 */
export const fromAdapter = <A, E>(
  run: (signal: AbortSignal) => Promise<A>,
  refine: (thrown: unknown) => E | undefined,
): Effect.Effect<A, E> =>
  Effect.callback<A, E>((resume) => {
    const controller = new AbortController()
    const done = run(controller.signal).then(
      (value) => resume(Effect.succeed(value)),
      (thrown: unknown) => {
        const error = refine(thrown)
        resume(error === undefined ? Effect.die(thrown) : Effect.fail(error))
      },
    )
    return Effect.promise(() => {
      controller.abort()
      return done
    })
  })
