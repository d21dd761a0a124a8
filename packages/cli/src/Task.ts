/** What a command does once its flags are read. */
import type * as Effect from "effect/Effect"
import type * as Stdio from "effect/Stdio"

import type { TerminalOutput } from "./TerminalOutput.ts"

/** Every error of a command has a tag and a message; an `exitCode` when that is not 1. */
export interface Problem {
  readonly _tag: string
  readonly message: string
  readonly exitCode?: number
}

export type Task = Effect.Effect<void, Problem, TerminalOutput | Stdio.Stdio>
