/**
 * `npm run bench` lists the benchmarks; `npm run bench NAME` runs one and prints its table as Markdown, which
 * `bench/NAME.md` keeps.
 */
import { readdirSync } from "node:fs"
import os from "node:os"

import * as Effect from "effect/Effect"

/** What every `*.bench.ts` exports. */
export interface Bench {
  readonly description: string
  /** Runs it, and gives its table as Markdown. */
  readonly run: Effect.Effect<string>
}

const suffix = ".bench.ts"
const names = readdirSync(new URL(".", import.meta.url))
  .filter((file) => file.endsWith(suffix))
  .map((file) => file.slice(0, -suffix.length))
  .sort()

const load = (name: string) =>
  Effect.promise(
    (): Promise<{ readonly bench: Bench }> =>
      import(new URL(`${name}${suffix}`, import.meta.url).href) as Promise<{ readonly bench: Bench }>,
  )

/** Where and how a table was measured. */
const heading = (name: string): string => {
  const [cpu] = os.cpus()
  const memory = Math.round(os.totalmem() / 2 ** 30)
  const load = os.loadavg()[0]!.toFixed(1)
  const day = new Date().toISOString().slice(0, 10)
  return [
    `# ${name}`,
    "",
    `\`npm run bench ${name}\`, ${day}, Node ${process.versions.node}, SQLite ${process.versions["sqlite"]},`,
    `${os.availableParallelism()} x ${cpu!.model.trim()}, ${memory} GiB, ${os.type()} ${os.arch()}; load average ${load} when it began.`,
  ].join("\n")
}

const main = Effect.gen(function* () {
  const [name] = process.argv.slice(2)
  if (name === undefined) {
    for (const each of names) {
      const { bench } = yield* load(each)
      process.stdout.write(`${each.padEnd(12)} ${bench.description}\n`)
    }
    return
  }
  if (!names.includes(name)) {
    process.stderr.write(`there is no benchmark ${name}; there are: ${names.join(", ")}\n`)
    process.exitCode = 2
    return
  }
  const { bench } = yield* load(name)
  const head = heading(name)
  process.stdout.write(`${head}\n\n${yield* bench.run}\n`)
})

void Effect.runPromise(main)
