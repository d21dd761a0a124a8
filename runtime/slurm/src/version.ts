/** The version of this reelgraph: drivers and workers of different ones refuse each other. */
import { readFileSync } from "node:fs"

export const version: string = (
  JSON.parse(readFileSync(new URL("../package.json", import.meta.url), "utf8")) as { version: string }
).version
