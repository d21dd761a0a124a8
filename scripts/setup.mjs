// Installs the exact locked dependencies when they are missing or older than the lock file.
// Plain JavaScript without imports from node_modules: it must run on whatever Node (>= 20) the machine has.
import { spawnSync } from "node:child_process"
import { existsSync, statSync } from "node:fs"
import { fileURLToPath } from "node:url"

const root = fileURLToPath(new URL("..", import.meta.url))
const installed = `${root}node_modules/.package-lock.json`
const locked = `${root}package-lock.json`
const modifiedAt = (path) => (existsSync(path) ? statSync(path).mtimeMs : 0)

if (modifiedAt(installed) < modifiedAt(locked)) {
  console.error("installing dependencies (once) ...")
  const npm = process.env.npm_execpath
  const [command, args] = npm ? [process.execPath, [npm]] : ["npm", []]
  const { status } = spawnSync(command, [...args, "ci", "--no-audit", "--no-fund", "--loglevel=error"], {
    cwd: root,
    stdio: ["ignore", 2, 2],
  })
  if (status !== 0) {
    console.error("npm ci failed; fix the message above and run the command again")
    process.exit(status ?? 1)
  }
}
