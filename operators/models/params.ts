/** Params of operators that run models. */
import * as Effect from "effect/Effect"
import * as Schema from "effect/Schema"

/** Where a model runs. Nothing else is chosen when it cannot be had. */
export const running = {
  provider: Schema.Literals(["cpu", "cuda", "webgpu"]).pipe(
    Schema.withDecodingDefaultKey(Effect.succeed("cpu" as const)),
  ),
  /** Threads of the CPU. */
  threads: Schema.Int.check(Schema.isBetween({ minimum: 1, maximum: 64 })).pipe(
    Schema.withDecodingDefaultKey(Effect.succeed(1)),
  ),
}
