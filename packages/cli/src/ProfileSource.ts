/** Where profiles come from: a file with a default export made by `Profile.make`, or its JSON. */
import { readFileSync } from "node:fs"
import { resolve } from "node:path"

import { Profile } from "@reelgraph/placement"
import * as Effect from "effect/Effect"
import * as Schema from "effect/Schema"

import * as Format from "./Format.ts"
import * as JsonText from "./JsonText.ts"
import * as UserModule from "./UserModule.ts"

/** A profile file that does not exist. */
export class ProfileFileMissing extends Schema.TaggedError<ProfileFileMissing>()("ProfileFileMissing", {
  file: Schema.String,
}) {
  readonly exitCode = 2
  override get message() {
    return `profile file ${this.file} does not exist; check the path`
  }
}

/** A profile file that does not load, or does not hold a profile. */
export class ProfileFileBroken extends Schema.TaggedError<ProfileFileBroken>()("ProfileFileBroken", {
  file: Schema.String,
  problem: Schema.String,
}) {
  readonly exitCode = 2
  override get message() {
    return `profile ${this.file}: ${this.problem}`
  }
}

/** The profile of a .ts, .js or .json file. */
export const load = Effect.fn("ProfileSource.load")(function* (given: string) {
  const file = resolve(given)
  if (!UserModule.isThere(file)) return yield* new ProfileFileMissing({ file: given })
  const broken = (cause: unknown) =>
    new ProfileFileBroken({
      file: given,
      problem: Format.line(cause instanceof Error && cause.message !== "" ? cause.message : String(cause)),
    })
  if (file.endsWith(".json"))
    return yield* Effect.try({
      try: () => Profile.make(JsonText.parse(readFileSync(file)) as Profile.Options),
      catch: broken,
    })
  const module = yield* Effect.mapError(
    UserModule.load(file),
    ({ problem }) => new ProfileFileBroken({ file: given, problem }),
  )
  const found = Object.values({ ...module, default: module["default"] }).filter(Profile.isProfile)
  const profile = Profile.isProfile(module["default"]) ? module["default"] : found[0]
  return (
    profile ??
    (yield* new ProfileFileBroken({
      file: given,
      problem: `it exports no profile (it exports ${Object.keys(module).sort().join(", ") || "nothing"}); write \`export default Profile.make({ operators: { ... } })\``,
    }))
  )
})
