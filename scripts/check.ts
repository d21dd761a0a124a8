/**
 * Everything about the code that is not a test: types (with the type tests), lint, format, unused code, and the
 * graphs against their committed snapshots. Runs all of them, then says which failed.
 */
import { spawnSync } from "node:child_process"
import { fileURLToPath } from "node:url"

const root = fileURLToPath(new URL("..", import.meta.url))
const bin = (name: string) => `${root}node_modules/.bin/${name}`

const steps: ReadonlyArray<readonly [name: string, command: string, args: ReadonlyArray<string>]> = [
  ["types", bin("tsc"), ["-b"]],
  ["lint", bin("oxlint"), ["--type-aware", "--deny-warnings"]],
  ["format", bin("oxfmt"), ["--check", "."]],
  ["unused code", bin("knip"), []],
  ["graphs", process.execPath, ["packages/cli/src/bin.ts", "check"]],
]

const failed = steps.filter(([name, command, args]) => {
  const begun = performance.now()
  const { status } = spawnSync(command, args, { cwd: root, stdio: "inherit" })
  console.log(
    `${status === 0 ? "ok    " : "FAILED"} ${name} (${((performance.now() - begun) / 1000).toFixed(1)} s)`,
  )
  return status !== 0
})

console.log(`${steps.length - failed.length} passed, ${failed.length} failed`)
process.exitCode = failed.length === 0 ? 0 : 1
