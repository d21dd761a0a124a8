/** Params that many operators have. */
import * as Effect from "effect/Effect"
import * as Schema from "effect/Schema"

/** A number of at least 0 with a default. */
export const nonNegative = (value: number) =>
  Schema.Finite.check(Schema.isGreaterThanOrEqualTo(0)).pipe(
    Schema.withDecodingDefaultKey(Effect.succeed(value)),
  )
