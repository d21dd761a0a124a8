/** The model files that come with the repository, which are taken where none is given. */
import * as fs from "node:fs"
import { join, relative } from "node:path"
import { fileURLToPath } from "node:url"

import * as Effect from "effect/Effect"

import { ModelMissing } from "./UsageError.ts"

const weights = fileURLToPath(new URL("../../../weights/", import.meta.url))

/** A path from here where it is below, which is shorter. */
const near = (file: string): string => {
  const path = relative(".", file)
  return path.startsWith("..") ? file : path
}

/** Names of them. */
export const denoiser = "denoiser.safetensors"
export const vae = "vae.safetensors"

/** The file that was given for an option, or else the shipped one of this name. */
export const file = (
  option: ModelMissing["option"],
  given: string | undefined,
  shipped: string,
): Effect.Effect<string, ModelMissing> =>
  Effect.suspend(() => {
    const path = given ?? near(join(weights, shipped))
    return fs.statSync(path, { throwIfNoEntry: false })?.isFile() === true
      ? Effect.succeed(path)
      : new ModelMissing({ option, file: path, isDefault: given === undefined })
  })
