/**
 * The compiled modules that Node caches, in the folder of `NODE_COMPILE_CACHE`: half of what the start
 * of a process takes. Node writes it when a process ends by itself, which workers do not.
 */
import { statSync } from "node:fs"
import { flushCompileCache, getCompileCacheDir } from "node:module"

/** Writes it for processes that start later, unless another has since this one was started: it has the same to write. */
export const keep = (): void => {
  const folder = getCompileCacheDir()
  if (folder === undefined) return
  const writtenMs = statSync(folder, { throwIfNoEntry: false })?.mtimeMs ?? 0
  if (writtenMs < performance.timeOrigin) flushCompileCache()
}
