import { assert, it } from "@effect/vitest"
import * as Effect from "effect/Effect"

import * as Installed from "../src/Installed.ts"

it.live("installed graphs are what their registry calls them", () =>
  Effect.gen(function* () {
    const graphs = yield* Installed.graphs
    assert.isAbove(graphs.length, 3)
    for (const { graph, name, version } of graphs) {
      const loaded = yield* graph
      assert.deepStrictEqual([loaded.name, loaded.version], [name, version])
    }
  }),
)
