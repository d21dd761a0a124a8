#!/usr/bin/env node
/**
 * Starts `reel`. Compiled code is cached from one start to the next, which halves the time that a start takes. Modules
 * are recorded as they are loaded: results are cached under the code that ran.
 */
import { enableCompileCache } from "node:module"

import * as LoadedModules from "@reelgraph/call/LoadedModules"

enableCompileCache()
LoadedModules.record()
void import("./Process.ts")
