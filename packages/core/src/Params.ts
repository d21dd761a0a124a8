/** Params of operators: from what a person gives to the value that `run` takes and its canonical JSON. */
import * as Schema from "effect/Schema"

import type * as Canonical from "./Canonical.ts"
import { ParamsInvalid } from "./GraphError.ts"

type Codec = Schema.Codec<any, any>
type Convert = (input: unknown) => unknown

const decoders = new WeakMap<Codec, Convert>()
const encoders = new WeakMap<Codec, Convert>()

const memoised = (cache: WeakMap<Codec, Convert>, key: Codec, build: (codec: Codec) => Convert): Convert => {
  let convert = cache.get(key)
  if (convert === undefined) cache.set(key, (convert = build(key)))
  return convert
}

/** A struct without fields, which as a schema accepts every object, whatever is in it. */
const isEmpty = (codec: Codec): boolean => {
  const { fields } = codec as { readonly fields?: object }
  return fields !== undefined && Object.keys(fields).length === 0
}

/**
 * Params as a person gives them, with defaults filled in: as a value, and in their JSON form.
 *
 * @throws ParamsInvalid naming every field that is missing, unknown or wrong
 */
export const resolve = (
  operator: { readonly name: string; readonly params: Codec },
  given: unknown,
): { readonly value: unknown; readonly json: Canonical.Json } => {
  const decode = memoised(decoders, operator.params, (codec) =>
    Schema.decodeUnknownSync(codec, { onExcessProperty: "error", errors: "all" }),
  )
  const encode = memoised(encoders, operator.params, (codec) =>
    Schema.encodeUnknownSync(Schema.toCodecJson(codec)),
  )
  try {
    if (isEmpty(operator.params) && typeof given === "object" && given !== null) {
      const [unknown] = Object.keys(given)
      if (unknown !== undefined) throw new Error(`Expected no params, got ["${unknown}"]`)
    }
    const value = decode(given)
    return { value, json: encode(value) as Canonical.Json }
  } catch (cause) {
    throw new ParamsInvalid({
      operator: operator.name,
      problem: cause instanceof Error ? cause.message : String(cause),
    })
  }
}
