import { afterEach, assert, beforeEach, describe, it, vi } from "@effect/vitest"

import { Throttle } from "../src/internal/Throttle.ts"

describe("Throttle", () => {
  beforeEach(() => void vi.useFakeTimers())
  afterEach(() => void vi.useRealTimers())

  const make = () => {
    const sent: Array<number> = []
    return { sent, throttle: new Throttle<number>(200, (value) => void sent.push(value)) }
  }

  it("passes the first on at once, then the latest in each span, and the last in the end", () => {
    const { sent, throttle } = make()
    vi.advanceTimersByTime(1000)
    // 100 a millisecond for a second.
    for (let n = 0; n < 100_000; n++) {
      throttle.offer(n)
      if (n % 100 === 99) vi.advanceTimersByTime(1)
    }
    assert.deepStrictEqual(sent, [0, 19_999, 39_999, 59_999, 79_999, 99_999])
    throttle.offer(100_000)
    assert.strictEqual(sent.length, 6)
    vi.advanceTimersByTime(1000)
    assert.strictEqual(sent.at(-1), 100_000)
    assert.strictEqual(vi.getTimerCount(), 0)
  })

  it("works where timers do not fire, because a thread is kept busy", () => {
    const { sent, throttle } = make()
    vi.advanceTimersByTime(1000)
    const busy = vi.spyOn(performance, "now")
    for (const nowMs of [5000, 5100, 5199, 5200, 5399, 5400]) {
      busy.mockReturnValue(nowMs)
      throttle.offer(nowMs)
    }
    busy.mockRestore()
    assert.deepStrictEqual(sent, [5000, 5200, 5400])
  })

  it("forgets what it holds when it is closed", () => {
    const { sent, throttle } = make()
    vi.advanceTimersByTime(1000)
    throttle.offer(1)
    throttle.offer(2)
    throttle.close()
    throttle.offer(3)
    vi.advanceTimersByTime(1000)
    assert.deepStrictEqual(sent, [1])
    assert.strictEqual(vi.getTimerCount(), 0)
  })
})
