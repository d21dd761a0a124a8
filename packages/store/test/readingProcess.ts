/** Reads a journal as commands do, in a process that may be of another user: prints its runs and items, or what went wrong. */
import * as Effect from "effect/Effect"

import { Journal, JournalSqlite } from "../src/index.ts"

const [file] = process.argv.slice(2) as [string]

const told = Journal.use((journal) =>
  Effect.sync(() => ({
    runs: journal.runs().map(({ id, name }) => [name, journal.runItems(id, "in:in").length]),
  })),
).pipe(
  Effect.provide(JournalSqlite.layerReading(file)),
  Effect.catch((error) => Effect.succeed({ error: error.message })),
)

process.stdout.write(JSON.stringify(await Effect.runPromise(told)))
