#!/usr/bin/env node
/**
 * Starts `reel`. Compiled code is cached from one start to the next, which halves the time that a start takes. Whoever
 * can write to that cache decides what runs, so it is a folder of this user alone, not Node's own among the temporary
 * files of all users. Modules are recorded as they are loaded: results are cached under the code that ran.
 */
import { mkdirSync, statSync } from "node:fs"
import { enableCompileCache } from "node:module"
import { homedir } from "node:os"
import { join } from "node:path"

import * as LoadedModules from "@reelgraph/call/LoadedModules"

/** A folder that nobody else may write to; undefined when there is none to be had. */
const ownFolder = (): string | undefined => {
  try {
    // oxlint-disable-next-line node/no-process-env -- a process boundary
    const folder = join(process.env["XDG_CACHE_HOME"] || join(homedir(), ".cache"), "reelgraph", "compiled")
    mkdirSync(folder, { recursive: true, mode: 0o700 })
    const { mode, uid } = statSync(folder)
    const isOwn = process.getuid === undefined || (uid === process.getuid() && (mode & 0o022) === 0)
    return isOwn ? folder : undefined
  } catch {
    return undefined
  }
}

// oxlint-disable-next-line node/no-process-env -- a process boundary: a person's own choice
const folder = process.env["NODE_COMPILE_CACHE"] ?? ownFolder()
if (folder !== undefined) enableCompileCache(folder)
LoadedModules.record()
void import("./Process.ts")
