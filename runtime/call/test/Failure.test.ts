/** Failures from the errors of others, whose properties may be anything. */
import { assert, describe, it } from "@effect/vitest"
import * as Cause from "effect/Cause"

import { Failure } from "../src/index.ts"

const throwing = (): never => {
  throw new Error("read")
}

/** An error one of whose properties throws when it is read. */
const hostile = (name: string): Error => Object.defineProperty(new Error("told"), name, { get: throwing })

const names = ["message", "_tag", "retryable", "endsRun", "code", "cause", "tag", "constructor"]

describe("a failure from a foreign error", () => {
  for (const name of names)
    it(`whose ${name} throws when it is read`, () => {
      const failed = Failure.fromError(hostile(name))
      assert.strictEqual(failed.tag, "Error")
      assert.strictEqual(failed.message, name === "message" ? "Error" : "told")
      assert.isFalse(failed.retryable)
      const died = Failure.fromCause(Cause.die(hostile(name)))
      assert.strictEqual(died.tag, "Defect")
      assert.strictEqual(died.message, name === "message" ? "an error whose message cannot be read" : "told")
    })

  it("whose constructor is no function, or has no name", () => {
    for (const constructor of [undefined, null, 1, { name: 7 }]) {
      const error = Object.assign(new Error("told"), { constructor })
      assert.strictEqual(typeof Failure.fromError(error).tag, "string")
    }
  })

  it("that is a proxy which throws at everything", () => {
    const handler = new Proxy({}, { get: () => throwing })
    const error: object = new Proxy({}, handler)
    assert.deepStrictEqual(Failure.fromError(error), { tag: "Error", message: "Error", retryable: false })
    assert.deepStrictEqual(Failure.fromCause(Cause.die(error)), {
      tag: "Defect",
      message: "a value that cannot be shown",
      retryable: false,
    })
    assert.isUndefined(Failure.ending(Cause.die(error)))
  })

  it("keeps what a worker reports, and no more of it", () => {
    const reported = { tag: "WorkerLost", message: "ended", retryable: true, endsRun: true }
    assert.deepStrictEqual(Failure.fromError(reported), reported)
    // A record of an operator that looks nearly like it is an error like others.
    const other = { tag: "Mine", retryable: "no" }
    assert.strictEqual(Failure.fromError(other).tag, "Error")
  })
})
