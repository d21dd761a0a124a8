/** Prompts, before anything is spent on them. */
import { drop, keep, Operator } from "@reelgraph/core"
import * as TextModels from "@reelgraph/inference/TextModels"
import * as ModelFile from "@reelgraph/models/ModelFile"
import * as Models from "@reelgraph/models/Prompt"
import * as Safetensors from "@reelgraph/onnx/Safetensors"
import { BlobStore } from "@reelgraph/store"
import * as Effect from "effect/Effect"

import { Denoiser, Prompt } from "../ports/index.ts"

const reasons: { readonly [K in Models.PromptError["_tag"]]: string } = {
  PromptEmpty: "prompt-empty",
  PromptTooLong: "prompt-too-long",
  PromptLanguage: "prompt-language",
  PromptUnknown: "prompt-unknown",
}

/**
 * Keeps prompts that the denoiser can make something of: in words, in English, within its tokens, and with at least
 * one word that it was trained with. The negative prompt has to be one as well, unless it is empty.
 */
export const CheckPrompt = Operator.filter("check-prompt", {
  version: "1.0.0",
  description: "Drops prompts that are empty, too long, not English, or of unknown words",
  input: Prompt,
  sides: { denoiser: Operator.one(Denoiser) },
  worker: import.meta.url,
  timeoutMs: 60_000,
  layer: TextModels.layer,
  needs: [BlobStore],
  run: ({ negative, prompt }, _, { sides }) =>
    Effect.gen(function* () {
      const blobs = yield* BlobStore
      const file = yield* Safetensors.open(yield* blobs.localPath(sides.denoiser.file))
      const spec = yield* ModelFile.specOf("denoiser", file)
      const { tokenizer } = yield* TextModels.TextModels
      const options: Models.Options = {
        tokenizer: yield* tokenizer,
        maxTokens: spec.tokens,
        ...(spec.vocabulary === undefined ? {} : { vocabulary: new Set(spec.vocabulary) }),
      }
      const checked = (text: string, of: string) =>
        Effect.mapError(Models.check(text, options), (error) =>
          drop(reasons[error._tag], `${of}${error.message}`),
        )
      yield* checked(prompt, "")
      if (Models.normalize(negative) !== "") yield* checked(negative, "negative prompt: ")
      return keep
    }).pipe(Effect.scoped),
})
