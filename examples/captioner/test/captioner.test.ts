/** The example runs against a server, and against a fake in its place. */
import { createServer } from "node:http"
import type { AddressInfo } from "node:net"

import { assert, describe, it } from "@effect/vitest"
import { layerInline } from "@reelgraph/call"
import { Graph } from "@reelgraph/core"
import { Engine } from "@reelgraph/engine"
import { BlobStoreMemory, Journal, JournalSqlite } from "@reelgraph/store"
import * as ConfigProvider from "effect/ConfigProvider"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Stream from "effect/Stream"

import { Captioner, captions } from "../captioner.graph.ts"

const memory = Layer.mergeAll(
  JournalSqlite.layerMemory,
  BlobStoreMemory.layer,
  layerInline({ name: "here", cores: 2, memoryGiB: 8, gpus: 0 }),
)

const notes = Stream.make({ name: "a.mp4", note: "a ball, red" }, { name: "b.mp4", note: "a star, blue" })

/** The captions that a run gives, and the reasons of what failed. */
const written = (graph: typeof captions) =>
  Effect.gen(function* () {
    const report = yield* Engine.run(graph, { notes })
    const journal = yield* Journal
    const { id } = journal.run(report.run)!
    return {
      captions: journal
        .runItems(id, "out:captions")
        .map((item) => (JSON.parse(journal.item(item)!.record) as { readonly caption: string }).caption)
        .sort(),
      failures: journal.failures(id).map(({ detail, reason }) => [reason, detail]),
    }
  }).pipe(Effect.provide(memory))

const asked = (url: string) =>
  Effect.provide(written(captions), ConfigProvider.layer(ConfigProvider.fromUnknown({ CAPTIONER_URL: url })))

/** A server that writes what it is told after the name of the model. */
const server = Effect.acquireRelease(
  Effect.callback<{ readonly url: string; readonly close: () => void }>((resume) => {
    const listening = createServer((request, response) => {
      let body = ""
      request.on("data", (chunk: Buffer) => void (body += chunk.toString("utf8")))
      request.on("end", () => {
        const { model, note } = JSON.parse(body) as { readonly model: string; readonly note: string }
        response.setHeader("content-type", "application/json")
        response.end(JSON.stringify({ caption: `${model}: ${note}` }))
      })
    }).listen(0, "127.0.0.1", () => {
      const { port } = listening.address() as AddressInfo
      resume(
        Effect.succeed({
          url: `http://127.0.0.1:${port}/caption`,
          close: () => {
            listening.closeAllConnections()
            listening.close()
          },
        }),
      )
    })
  }),
  ({ close }) => Effect.sync(close),
)

describe("captioner", () => {
  it.effect("runs with a fake captioner, given in a line", () =>
    Effect.gen(function* () {
      const fake = Layer.succeed(Captioner, { write: (_, note) => Effect.succeed(`a fake of ${note}`) })
      const { captions: made } = yield* written(Graph.replaceLayer(captions, Captioner.layer, fake))
      assert.deepStrictEqual(made, ["a fake of a ball, red", "a fake of a star, blue"])
    }),
  )

  it.live("asks the server that the environment names", () =>
    Effect.gen(function* () {
      const { url } = yield* server
      assert.deepStrictEqual(yield* asked(url), {
        captions: ["small: a ball, red", "small: a star, blue"],
        failures: [],
      })
    }),
  )

  it.live("reports a captioner that is not configured, for each item", () =>
    Effect.gen(function* () {
      const { failures } = yield* Effect.provide(
        written(captions),
        ConfigProvider.layer(ConfigProvider.fromUnknown({})),
      )
      assert.deepStrictEqual(
        failures.map(([reason]) => reason),
        ["LayerFailed", "LayerFailed"],
      )
      assert.include(failures[0]![1], "write-caption cannot begin, as the layer of write-caption@1.0.0")
      assert.include(failures[0]![1], "CAPTIONER_URL")
    }),
  )
})
