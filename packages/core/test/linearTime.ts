/**
 * Functions of text take a time that grows with its length: a name, a message or a prompt of a megabyte holds nobody
 * up. Sizes are compared with each other, by the processor's time of this thread: for eight times the text it may be forty
 * times as much, and not the 64 times of a square.
 */
import { assert, it } from "@effect/vitest"

const small = 1 << 14

/** Milliseconds of this thread's own time, which nobody else on the machine takes part in: the least of some. */
const milliseconds = (body: () => unknown): number => {
  const took: Array<number> = []
  for (let time = 0; time < 3; time++) {
    const begun = process.threadCpuUsage()
    body()
    const { system, user } = process.threadCpuUsage(begun)
    took.push((user + system) / 1000)
  }
  return Math.min(...took)
}

/** Below it nothing can be told: what grows with the square takes seconds for the longer text. */
const leastMs = 5

/** A test of each function, on repetitions of each pattern. */
export const tests = (
  functions: { readonly [name: string]: (text: string) => unknown },
  patterns: ReadonlyArray<string>,
): void => {
  for (const [name, call] of Object.entries(functions))
    it(
      name,
      () => {
        for (const pattern of patterns) {
          // An end that makes what begins everywhere match nowhere.
          const of = (length: number) => `${pattern.repeat(Math.ceil(length / pattern.length))}\u00E9`
          const [little, much] = [of(small), of(8 * small)]
          call(little)
          const before = milliseconds(() => call(little))
          assert.isBelow(
            milliseconds(() => call(much)),
            40 * Math.max(before, leastMs),
            JSON.stringify(pattern),
          )
        }
      },
      180_000,
    )
}
