/**
 * Logs of the workers of a cluster: files `<session>/<job>_<task>.log` in a folder beside the journal. One has all that
 * the restarts of its task wrote. A session is what one driver has on the cluster, for one run; the calls of a run say in
 * whose sessions they were made (the earlier ones are of drivers whose jobs it took over).
 */
import { readdirSync, statSync } from "node:fs"
import { join } from "node:path"

import { LogEnd, Results } from "@reelgraph/slurm"
import type { Journal, Run } from "@reelgraph/store"

import * as Format from "./Format.ts"

/** The end of a log. */
export interface Tail {
  readonly lines: ReadonlyArray<string>
  /** Whether that is all of it. */
  readonly whole: boolean
}

/** The log of a task, as far as a run is concerned. */
export interface Log {
  readonly session: string
  /** `1234_5`: job and task. */
  readonly task: string
  /** Where the calls were made that the run has from it: none, when no result of the run is from it. */
  readonly places: ReadonlyArray<string>
  readonly file: string
  /** When something was last written to it; undefined when it is not here. */
  readonly writtenMs: number | undefined
}

/** Of a line, what is read at most on average, and of a log. */
const lineBytes = 4096
const mostBytes = 64 * 1024 * 1024

/** What may be of another user, or go away meanwhile. */
const otherwise = <A, B>(read: () => A, instead: B): A | B => {
  try {
    return read()
  } catch {
    return instead
  }
}

const writtenMs = (file: string): number | undefined => otherwise(() => statSync(file).mtimeMs, undefined)

/** Names in a folder; none when it is not here. */
const namesIn = (folder: string): ReadonlyArray<string> => otherwise(() => readdirSync(folder), [])

/** The last lines of a log; undefined when it is not here. */
export const tail = (file: string, lines: number): Tail | undefined => {
  const end = LogEnd.read(file, Math.min(lines * lineBytes, mostBytes))
  if (end === undefined) return undefined
  const text = end.text.trimEnd()
  const all = text === "" ? [] : text.split("\n")
  // What it begins with is the rest of a line.
  if (!end.whole && all.length > 1) all.shift()
  return { lines: all.slice(-lines), whole: end.whole && all.length <= lines }
}

/** When a session of a graph began, to the second: it is in its name, such as `curate-20260114-093042-3fa9c1`. */
const beganAt = (session: string, graph: string): number | undefined => {
  const found = session.startsWith(`${graph}-`)
    ? /^(\d{4})(\d\d)(\d\d)-(\d\d)(\d\d)(\d\d)-[0-9a-f]+$/u.exec(session.slice(graph.length + 1))
    : null
  if (found === null) return undefined
  const [year, month, day, hours, minutes, seconds] = found.slice(1).map(Number) as [
    number,
    number,
    number,
    number,
    number,
    number,
  ]
  return Date.UTC(year, month - 1, day, hours, minutes, seconds)
}

/** Whether a session is that of the driver of a run: it began before the run, and after the run before it. */
const isOwn = (journal: typeof Journal.Service, run: Run) => {
  const before = Math.max(
    0,
    ...journal
      .runs()
      .filter(({ graph, startedMs }) => graph === run.graph && startedMs < run.startedMs)
      .map(({ startedMs }) => startedMs),
  )
  return (session: string): boolean => {
    const began = beganAt(session, run.graph)
    return began !== undefined && began <= run.startedMs && began > before - (before % 1000)
  }
}

/**
 * The logs of a run among those of its store, the one that was written to last at the end. Those of its sessions are all
 * its own, also of workers without a result. When no call tells of its driver's session, as when there is no result at all,
 * that is found by its name and time.
 */
export const ofRun = (journal: typeof Journal.Service, run: Run, folder: string): ReadonlyArray<Log> => {
  const places = new Map<string, Array<string>>()
  for (const place of journal.places(run.id)) {
    const name = Results.logOf(place)
    if (name === undefined) continue
    const known = places.get(name)
    if (known === undefined) places.set(name, [place])
    else known.push(place)
  }
  const named = [...places.keys()].map((name) => name.slice(0, name.lastIndexOf("/")))
  const own = isOwn(journal, run)
  const sessions = new Set(named.some(own) ? named : [...named, ...namesIn(folder).filter(own)])
  const there = [...sessions].flatMap((session) =>
    namesIn(join(folder, session))
      .filter((name) => /^\d+_\d+\.log$/u.test(name))
      .map((name) => `${session}/${name}`),
  )
  return [...new Set([...places.keys(), ...there])]
    .map((name): Log => {
      const at = name.lastIndexOf("/")
      const file = join(folder, name)
      return {
        session: name.slice(0, at),
        task: name.slice(at + 1, -".log".length),
        places: (places.get(name) ?? []).toSorted(),
        file,
        writtenMs: writtenMs(file),
      }
    })
    .toSorted(
      (a, b) =>
        (a.writtenMs ?? 0) - (b.writtenMs ?? 0) || a.file.localeCompare(b.file, "en", { numeric: true }),
    )
}

/** The end of a log for people, to stand below a heading. */
export const lines = (tail: Tail | undefined): ReadonlyArray<string> => {
  if (tail === undefined) return ["  its log is not here, or cannot be read"]
  if (tail.lines.length === 0) return ["  its log is empty"]
  return tail.lines.map((line) => `  ${Format.cut(Format.line(line.replaceAll("\t", "  ")), 400)}`)
}

/** Said of a log that is shown in part. */
export const part = (tail: Tail | undefined): string =>
  tail === undefined || tail.whole ? "" : `: the last ${Format.counted(tail.lines.length, "line")} of its log`
