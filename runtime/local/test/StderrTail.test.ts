import { assert, describe, it } from "@effect/vitest"

import { StderrTail } from "../src/index.ts"

describe("StderrTail", () => {
  it("finds the error among what Node prints", () => {
    assert.strictEqual(
      StderrTail.of(`node:internal/modules/cjs/loader:1403
  throw err;
  ^

Error: Cannot find module '/nowhere/at-all.cjs'
Require stack:
- internal/preload
    at Function._resolveFilename (node:internal/modules/cjs/loader:1400:15)
    at defaultResolveImpl (node:internal/modules/cjs/loader:1058:19) {
  code: 'MODULE_NOT_FOUND',
  requireStack: [ 'internal/preload' ]
}

Node.js v24.21.0
`),
      "Error: Cannot find module '/nowhere/at-all.cjs'",
    )
  })

  it("gives the last lines where none speaks of an error, and nothing of nothing", () => {
    assert.strictEqual(
      StderrTail.of("one\n\ntwo\n    at here (there:1:1)\nthree\nfour\n"),
      "two | three | four",
    )
    assert.strictEqual(StderrTail.of("\n \n"), "")
    // Better than nothing.
    assert.strictEqual(StderrTail.of("  code: 'E'\n"), "code: 'E'")
  })

  it("keeps messages that look like fields", () => {
    assert.strictEqual(
      StderrTail.of("TypeError: x is not a function\n    at f (g:1:1)\n"),
      "TypeError: x is not a function",
    )
  })
})
