/**
 * Wrong graphs do not compile, and what the compiler says is short and names the edge and both ports.
 *
 * Every file of `wrong/` is one kind of mistake. A comment `// error: text` stands above each line that must
 * be an error and holds what the message must contain; every other line must compile.
 */
import { spawnSync } from "node:child_process"
import { readdirSync, readFileSync } from "node:fs"
import { dirname, join } from "node:path"
import { fileURLToPath } from "node:url"

import { assert, describe, it } from "@effect/vitest"

const folder = join(import.meta.dirname, "wrong")
const files = readdirSync(folder).filter((name) => name.endsWith(".ts"))

type Mistake = { readonly line: number; readonly text: string }

const expectedOf = (file: string): ReadonlyArray<Mistake> =>
  readFileSync(join(folder, file), "utf8")
    .split("\n")
    .flatMap((line, index) => {
      const text = /^\s*\/\/ error: (.*)$/.exec(line)?.[1]
      return text === undefined ? [] : [{ line: index + 2, text }]
    })

/** What `tsc` prints, by file: one message per mistake, with its continuation lines. */
const compile = (): ReadonlyMap<string, ReadonlyArray<Mistake>> => {
  const root = dirname(fileURLToPath(import.meta.resolve("typescript/package.json")))
  const { stdout } = spawnSync(
    process.execPath,
    [join(root, "bin/tsc"), "--project", folder, "--pretty", "false"],
    { cwd: folder, encoding: "utf8" },
  )
  const found = new Map<string, Array<Mistake>>()
  for (const message of stdout.trimEnd().split(/\n(?! )/)) {
    const match = /^(\S+)\((\d+),\d+\): (error TS[^]*)$/.exec(message)
    assert(match !== null, `tsc printed: ${message}`)
    const [, file, line, text] = match as unknown as [string, string, string, string]
    found.set(file, [...(found.get(file) ?? []), { line: Number(line), text }])
  }
  return found
}

describe("wrong graphs", () => {
  const compiled = compile()

  it("are all that fails: right.ts and ports.ts compile, and every other file has a mistake", () => {
    assert.deepStrictEqual(
      [...compiled.keys()].sort(),
      files.filter((name) => name !== "right.ts" && name !== "ports.ts").sort(),
    )
  })

  it.each(files)("%s", (file) => {
    const expected = expectedOf(file)
    const found = compiled.get(file) ?? []
    assert.deepStrictEqual(
      found.map(({ line }) => line),
      expected.map(({ line }) => line),
    )
    found.forEach(({ text }, at) => {
      assert.include(text, expected[at]!.text)
      assert.isBelow(text.length, 1200, text)
      if (/takes|needs the side/.test(expected[at]!.text)) {
        assert.notInclude(text, "\n", "a wiring mistake is one line")
      }
      if (expected[at]!.text.startsWith("edge ")) {
        assert.match(
          text,
          /'"edge \S+ -> \S+: \S+ takes [A-Z]\w+.*, but this edge carries [A-Z]\w+.*; \w.*"'\.$/,
        )
      }
      // The types of `run` go through Effect, Array and Emission before they reach the field.
      assert.isAtMost(text.split("\n").length, file === "collect-record.ts" ? 5 : 4, text)
    })
  })
})
