/** Named objects in memory. */
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import * as Stream from "effect/Stream"

import { checkName, checkPrefix, defaultMaxObjectBytes, Objects, ObjectTooLarge } from "../Objects.ts"

export const make = (): Objects["Service"] => {
  const objects = new Map<string, Uint8Array<ArrayBuffer>>()
  return Objects.of({
    put: (name, bytes) => Effect.map(checkName(name), () => void objects.set(name, new Uint8Array(bytes))),
    get: Effect.fnUntraced(function* (name, options) {
      yield* checkName(name)
      const bytes = objects.get(name)
      const maxBytes = options?.maxBytes ?? defaultMaxObjectBytes
      if (bytes === undefined) return Option.none<Uint8Array<ArrayBuffer>>()
      if (bytes.length > maxBytes) return yield* new ObjectTooLarge({ name, bytes: bytes.length, maxBytes })
      return Option.some(bytes.slice())
    }),
    list: (prefix) =>
      Stream.fromIterableEffect(
        Effect.map(checkPrefix(prefix), () =>
          [...objects.keys()].filter((name) => prefix === "" || name.startsWith(`${prefix}/`)).sort(),
        ),
      ),
    remove: (name) => Effect.map(checkName(name), () => void objects.delete(name)),
  })
}
