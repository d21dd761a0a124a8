/** Which modules a worker loads: files of this machine, and nothing that carries its code in its name. */
import { realpathSync, statSync } from "node:fs"
import { fileURLToPath, pathToFileURL } from "node:url"

import * as Effect from "effect/Effect"
import * as Schema from "effect/Schema"

/** A module that no worker loads. */
export class ModuleRefused extends Schema.TaggedError<ModuleRefused>()("ModuleRefused", {
  operator: Schema.String,
  module: Schema.String,
  problem: Schema.String,
}) {
  override get message() {
    return `the module of operator ${this.operator} is not loaded (${JSON.stringify(this.module.slice(0, 200))}): ${this.problem}; let its \`worker\` be import.meta.url of the module that exports it`
  }
}

/** The URL of the file that a module is. */
export const urlOf = (operator: string, module: string): Effect.Effect<string, ModuleRefused> =>
  Effect.try({
    try: () => {
      const url = URL.canParse(module) ? new URL(module) : undefined
      if (url?.protocol !== "file:") throw new Error("a worker loads file: URLs alone")
      // Links are followed here, once: what is looked at is what is loaded.
      const path = realpathSync(fileURLToPath(url))
      if (!statSync(path).isFile()) throw new Error("it is no file")
      return `${pathToFileURL(path).href}${url.search}`
    },
    catch: (cause) =>
      new ModuleRefused({
        operator,
        module,
        problem: cause instanceof Error ? cause.message : String(cause),
      }),
  })
