/** `reel check`: whether graphs can run, and still mean what their committed snapshots say. */
import * as fs from "node:fs"
import { dirname, join } from "node:path"

import * as Environment from "@reelgraph/call/Environment"
import { type Canonical, Snapshot, Verify } from "@reelgraph/core"
import { type ChangedCode, Plan } from "@reelgraph/engine"
import * as Effect from "effect/Effect"
import * as Schema from "effect/Schema"

import * as ExitCode from "../ExitCode.ts"
import * as Format from "../Format.ts"
import * as GraphSource from "../GraphSource.ts"
import * as Installed from "../Installed.ts"
import * as JsonText from "../JsonText.ts"
import { TerminalOutput } from "../TerminalOutput.ts"
import * as StoreFolder from "../StoreFolder.ts"
import type { Task } from "../Task.ts"

export interface Options {
  readonly graph: string | undefined
  readonly update: boolean
  readonly store: string
  readonly changedCode: ChangedCode.ChangedCode
  readonly json: boolean
}

/** What was found of one graph. */
interface Finding {
  readonly graph: string
  readonly problems: ReadonlyArray<string>
  readonly snapshot: "same" | "changed" | "missing" | "written" | "none"
  readonly differences: ReadonlyArray<string>
  readonly warnings: ReadonlyArray<string>
}

/** A snapshot could not be read or written. */
export class SnapshotUnusable extends Schema.TaggedError<SnapshotUnusable>()("SnapshotUnusable", {
  file: Schema.String,
  problem: Schema.String,
}) {
  override get message() {
    return `snapshot ${this.file}: ${this.problem}`
  }
}

export const run: (options: Options) => Task = Effect.fn("reel.check")(function* (options: Options) {
  const screen = yield* TerminalOutput
  const graphs: ReadonlyArray<GraphSource.Found> =
    options.graph === undefined
      ? yield* Effect.forEach(yield* Installed.graphs, ({ graph, snapshots }) =>
          Effect.map(graph, (loaded) => ({ graph: loaded, snapshots, file: undefined })),
        )
      : [yield* GraphSource.find(options.graph)]
  const findings = yield* Effect.forEach(graphs, (found) => examine(found, options))
  if (options.json) screen.print(JSON.stringify(findings, null, 2))
  else screen.show(findings.length === 0 ? ["no graphs are installed"] : findings.flatMap(lines))
  if (findings.some(isBad)) return yield* new ExitCode.Ended({ exitCode: ExitCode.failed })
})

const isBad = ({ problems, snapshot }: Finding): boolean =>
  problems.length > 0 || snapshot === "changed" || snapshot === "missing"

const examine = Effect.fnUntraced(function* (
  found: GraphSource.Found,
  { changedCode, store, update }: Options,
) {
  const { graph } = found
  const { differences, snapshot } = yield* compare(found, update)
  const warnings = (yield* StoreFolder.exists(store))
    ? yield* Effect.provide(Plan.changedOperators(graph, changedCode), StoreFolder.layerJournal(store))
    : []
  return {
    graph: GraphSource.label(graph),
    problems: Verify.problems(graph, [], Environment.isOfStore).map(({ message }) => message),
    snapshot,
    differences,
    warnings,
  } satisfies Finding
})

/** Snapshots of a person's own graph are in a folder `snapshots` beside its file, when there is one. */
const compare = Effect.fnUntraced(function* ({ file, graph, snapshots }: GraphSource.Found, update: boolean) {
  const own = file === undefined ? undefined : join(dirname(file), "snapshots")
  const folder = snapshots ?? own
  if (folder === undefined) return { snapshot: "none" as const, differences: [] }
  const path = join(folder, Snapshot.fileName(graph))
  const attempt = <A>(body: () => A) =>
    Effect.try({
      try: body,
      catch: (cause) =>
        new SnapshotUnusable({ file: path, problem: cause instanceof Error ? cause.message : String(cause) }),
    })
  if (!fs.existsSync(path)) {
    if (!update)
      return {
        snapshot: snapshots !== undefined || fs.existsSync(folder) ? ("missing" as const) : ("none" as const),
        differences: [],
      }
    yield* attempt(() => {
      fs.mkdirSync(folder, { recursive: true })
      fs.writeFileSync(path, Snapshot.text(graph), { flag: "wx" })
    })
    return { snapshot: "written" as const, differences: [] }
  }
  const committed = yield* attempt(() => JsonText.parse(fs.readFileSync(path)) as Canonical.Json)
  const changed = Snapshot.changed(graph, committed)
  return changed === undefined
    ? { snapshot: "same" as const, differences: [] }
    : { snapshot: "changed" as const, differences: changed.differences }
})

const snapshotText: { readonly [state in Finding["snapshot"]]: string } = {
  same: "as in its snapshot",
  changed: "changed under this version; give it a new version, or undo:",
  missing: "has no snapshot; `reel check --update` writes it",
  written: "snapshot written",
  none: "no snapshots kept",
}

const lines = (finding: Finding): ReadonlyArray<string> => [
  `${isBad(finding) ? "FAILED" : "ok    "} ${finding.graph}: ${snapshotText[finding.snapshot]}`,
  ...finding.differences.map((line) => `       ${line}`),
  ...finding.problems.map((problem) => `       ${Format.line(problem)}`),
  ...finding.warnings.map((warning) => `       warning: ${Format.line(warning)}`),
]
