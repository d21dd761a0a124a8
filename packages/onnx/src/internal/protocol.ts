/** The requests of a session's owner to its thread, and their answers. Tensors are cloned, or their buffers handed over. */
import type { DType } from "../DType.ts"
import type { Tensor } from "../Tensor.ts"

export type Provider = "cpu" | "cuda" | "webgpu"

/** A model's bytes, or the file that holds it. */
export type Source = { readonly bytes: Uint8Array } | { readonly path: string }

export type Tensors = { readonly [name: string]: Tensor }

export interface Open {
  readonly _tag: "Open"
  /** What the model is called in later requests. */
  readonly key: string
  readonly source: Source
  readonly provider: Provider
  readonly threads: number
}

export type Request =
  | Open
  | { readonly _tag: "Run"; readonly key: string; readonly feeds: Tensors }
  /** Replaces the training state by these tensors. */
  | { readonly _tag: "Restore"; readonly state: Tensors }
  /** Copies of the training state, or of the parts that are named. */
  | { readonly _tag: "Read"; readonly names: ReadonlyArray<string> | undefined }
  /** Runs a model that takes state and gives `next/` state; the new state counts when all of `finite` holds. */
  | { readonly _tag: "Advance"; readonly key: string; readonly feeds: Tensors }
  /** Runs a model on the state without changing it. */
  | { readonly _tag: "Observe"; readonly key: string; readonly feeds: Tensors }

/** A model's input or output, as the runtime declares it; symbols stay names. */
export interface Declared {
  readonly name: string
  readonly dtype: DType
  readonly shape: ReadonlyArray<number | string>
}

export interface Opened {
  readonly inputs: ReadonlyArray<Declared>
  readonly outputs: ReadonlyArray<Declared>
}

export interface Response {
  readonly Open: Opened
  readonly Run: Tensors
  readonly Restore: null
  readonly Read: Tensors
  readonly Advance: Tensors
  readonly Observe: Tensors
}

export type Failure =
  | { readonly _tag: "ProviderMissing"; readonly available: ReadonlyArray<string>; readonly problem: string }
  | { readonly _tag: "ModelInvalid"; readonly problem: string }
  | { readonly _tag: "RunFailed"; readonly problem: string }
