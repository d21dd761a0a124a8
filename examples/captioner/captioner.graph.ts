/**
 * A graph with an operator that asks a service: a server that writes captions.
 *
 *     CAPTIONER_URL=http://localhost:8080/caption reel run ./captioner.graph.ts --input notes=notes.ndjson
 */
import { Graph, Operator, Port } from "@reelgraph/core"
import { Config, Context, Effect, Layer, Schema } from "effect"
import { FetchHttpClient, HttpClient, HttpClientRequest, HttpClientResponse } from "effect/http"

export const Note = Port.make("Note", { record: Schema.Struct({ name: Schema.String, note: Schema.String }) })
export const Caption = Port.make("Caption", {
  record: Schema.Struct({ name: Schema.String, caption: Schema.String }),
})

/** The server cannot be reached, or answers with something else. */
export class CaptionerFailed extends Schema.TaggedError<CaptionerFailed>()("CaptionerFailed", {
  problem: Schema.String,
  retryable: Schema.Boolean,
}) {
  override get message() {
    return `the captioner at CAPTIONER_URL does not work: ${this.problem}`
  }
}

/** Writes captions. What needs it names it, and what tests an operator gives a fake. */
export class Captioner extends Context.Service<
  Captioner,
  { readonly write: (model: string, note: string) => Effect.Effect<string, CaptionerFailed> }
>()("examples/Captioner") {
  static readonly layer = Layer.effect(
    Captioner,
    Effect.gen(function* () {
      const url = yield* Config.String("CAPTIONER_URL")
      const client = yield* HttpClient.HttpClient
      return {
        write: (model: string, note: string) =>
          HttpClientRequest.post(url).pipe(
            HttpClientRequest.bodyJson({ model, note }),
            Effect.flatMap(client.execute),
            Effect.flatMap(HttpClientResponse.filterStatusOk),
            Effect.flatMap(HttpClientResponse.schemaBodyJson(Schema.Struct({ caption: Schema.String }))),
            Effect.map(({ caption }) => caption),
            Effect.mapError(({ message }) => new CaptionerFailed({ problem: message, retryable: true })),
          ),
      }
    }),
  ).pipe(Layer.provide(FetchHttpClient.layer))
}

/** The model is a param: what results depend on is part of what they are found by. */
export const WriteCaption = Operator.map("write-caption", {
  version: "1.0.0",
  description: "Writes the caption of a note",
  input: Note,
  output: Caption,
  params: Schema.Struct({ model: Schema.String }),
  layer: Captioner.layer,
  run: ({ name, note }, { model }) =>
    Effect.gen(function* () {
      const captioner = yield* Captioner
      return { name, caption: yield* captioner.write(model, note) }
    }),
})

export const captions = Graph.make("captions", { version: "1.0.0" }, (g) => ({
  captions: g.input("notes", Note).pipe(WriteCaption({ model: "small" })),
}))
