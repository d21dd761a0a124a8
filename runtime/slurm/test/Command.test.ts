import { assert, describe, it } from "@effect/vitest"
import * as Effect from "effect/Effect"

import * as Command from "../src/internal/Command.ts"

const shell = (text: string, timeoutMs = 60_000) =>
  Command.run({
    command: "/bin/sh",
    args: ["-c", text],
    environment: { PATH: "/usr/bin:/bin" },
    timeoutMs,
    maxBytes: 1000,
  })

describe("A command of Slurm", () => {
  it.live("is over when it ends, whoever still holds its pipes", () =>
    Effect.gen(function* () {
      const { code, stdout } = yield* shell("sleep 30 & echo $!; exit 3")
      assert.strictEqual(code, 3)
      assert.match(stdout, /^\d+\n$/u)
      process.kill(Number(stdout), "SIGKILL")
    }),
  )

  it.live("that takes too long is over, whoever still holds its pipes", () =>
    Effect.gen(function* () {
      const { code, reported, stdout } = yield* shell("sleep 30 & echo $!; wait", 300)
      assert.isUndefined(code)
      assert.strictEqual(reported, "no answer in 0.3 s")
      process.kill(Number(stdout), "SIGKILL")
    }),
  )
})
