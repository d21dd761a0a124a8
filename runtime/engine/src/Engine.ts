/**
 * Runs graphs: streaming with backpressure, durable, cached, resumable.
 *
 * Each node is a few fibers between bounded queues. Items move in chunks; what the journal has is passed on, what
 * it lacks is called for, committed and passed on. Memory is bounded by the graph, not by the number of items:
 * in front of each consumer wait at most 1024 items. Only `collect`, and side inputs, hold a row id per item.
 *
 * **What a kill costs.** A result counts once its row is on disk; what a rerun calls for again is what had been
 * called for and was not on disk. A node makes `concurrency` calls at once. On this thread each of these commits
 * after at most 256 calls, and after at most 20 ms of them when calls are slower; a `batch` operator commits every
 * batch, and an operator in workers every call. So a kill costs at most `concurrency` x 256 calls of each node on
 * this thread, `concurrency` x `size` of each `batch` node, and `concurrency` of each node in workers.
 */
import { Environment, Executor, type ExecutorFailed, Fingerprints, RecordCodec } from "@reelgraph/call"
import { type Graph, Ledger, type Operator, Secrets, type Verify } from "@reelgraph/core"
import {
  BlobStore,
  Journal,
  type JournalError,
  type NewItem,
  type RunEnd,
  type RunStatus,
} from "@reelgraph/store"
import type * as Cause from "effect/Cause"
import * as Clock from "effect/Clock"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Queue from "effect/Queue"
import * as Random from "effect/Random"
import * as Stream from "effect/Stream"

import * as GraphChecks from "./internal/graphChecks.ts"
import * as Flow from "./internal/Flow.ts"
import type { RunContext } from "./internal/NodeContext.ts"
import * as NodeRunner from "./internal/NodeRunner.ts"
import { storeErrors } from "./internal/storeFailures.ts"
import { NodeCounters } from "./internal/NodeCounters.ts"
import { CallInProgress } from "./internal/CallInProgress.ts"
import * as ChangedCode from "./ChangedCode.ts"
import {
  InputsMismatch,
  type OperatorStray,
  RecordInvalid,
  type SideCount,
  type StoreFailed,
  type TooManyFailures,
} from "./RunError.ts"

/** Records for the inputs of a graph, as their ports describe them. */
export type Inputs<E = never, R = never> = { readonly [input: string]: Stream.Stream<unknown, E, R> }

export interface Options {
  /** Seed of everything random. @default 0 */
  readonly seed?: number
  /** Failed calls after which the run ends. @default none: failed items are recorded and the run goes on */
  readonly maxFailures?: number
  /** What becomes of cached results of other code under the same name and version. @default "auto" */
  readonly changedCode?: ChangedCode.ChangedCode
  /** Is given the state of the run when it begins, to show while it goes on. */
  readonly observe?: (live: Live) => void
  /** Is told of each call that begins on this thread: the position of its node. Called often: it has to be quick. */
  readonly begins?: (node: number) => void
  /** Ends the run when it fails, with what it fails with. @default never */
  readonly failing?: Effect.Effect<never, OperatorStray>
}

/** A run that goes on: read it whenever you like. */
export interface Live {
  readonly name: string
  readonly graph: Graph.Graph
  readonly startedMs: number
  readonly nodes: ReadonlyArray<{
    readonly id: string
    readonly tally: Readonly<NodeCounters>
    /** Calls that go on and have reported progress, in the order of their first reports. */
    readonly underway: ReadonlySet<Readonly<CallInProgress>>
    /** Of a node whose calls are made elsewhere: how its workers are, in a few words. */
    readonly away?: (() => string) | undefined
  }>
  /** Items taken in so far, and whether that is all, by input. */
  readonly inputs: { readonly [input: string]: { readonly count: number; readonly ended: boolean } }
}

export interface Report {
  readonly run: string
  readonly graph: string
  readonly version: string
  readonly status: RunStatus
  readonly startedMs: number
  readonly endedMs: number
  readonly ledger: Ledger.Ledger
  /** Items taken in, by input, and given, by output. */
  readonly inputs: { readonly [input: string]: number }
  readonly outputs: { readonly [output: string]: number }
  /** Things to know that did not stop the run, such as operators whose code changed under their version. */
  readonly warnings: ReadonlyArray<string>
}

export type RunError =
  | Verify.GraphInvalid
  | InputsMismatch
  | RecordInvalid
  | SideCount
  | TooManyFailures
  | ExecutorFailed
  | StoreFailed
  | OperatorStray
  | JournalError

/**
 * Runs a graph to its end.
 *
 * Failed items do not fail the run: they are in the ledger. What does fail it keeps everything that was committed;
 * running again goes on from there.
 *
 * It requires the services that the graph's operators need, as far as the type of the graph tells; a graph that needs
 * what nobody gives is refused. The layers that operators bring are built when the first call needs them, and closed
 * when the run ends.
 */
export const run: <G extends Graph.Graph, E = never, R = never>(
  graph: G,
  inputs: Inputs<E, R>,
  options?: Options,
) => Effect.Effect<Report, RunError | E, Journal | BlobStore | Executor | R | Graph.Needs<G>> = Effect.fn(
  "Engine.run",
)(
  function* <E, R>(graph: Graph.Graph, inputs: Inputs<E, R>, options: Options = {}) {
    const journal = yield* Journal
    const blobs = yield* BlobStore
    const executor = yield* Executor
    const clock = yield* Clock.Clock
    yield* GraphChecks.check(graph, executor)
    const environment = yield* Environment.make
    yield* checkInputs(graph, Object.keys(inputs))
    const code = yield* (yield* Fingerprints.Fingerprints).of(graph.nodes.map(({ operator }) => operator))

    const startedMs = clock.currentTimeMillisUnsafe()
    const name = yield* runName(graph.name, startedMs)
    const definition = GraphChecks.definition(graph)
    const begun = journal.beginRun({
      name,
      graph: graph.name,
      version: graph.version,
      digest: definition.digest,
      definition: definition.json,
      startedMs,
      nodes: graph.nodes.map((node) => node.id),
    })
    const nodes = graph.nodes.map((node) => ({
      id: node.id,
      node,
      tally: new NodeCounters(),
      underway: new Set<CallInProgress>(),
      away: executor.lane(node)?.state,
    }))
    const taken: { [input: string]: { count: number; ended: boolean } } = {}
    for (const input of Object.keys(graph.inputs)) taken[input] = { count: 0, ended: false }
    const given: { [output: string]: number } = {}
    for (const output of Object.keys(graph.outputs)) given[output] = 0
    options.observe?.({ name, graph, startedMs, nodes, inputs: taken })

    const shared: Omit<RunContext, "run"> = {
      journal,
      blobs,
      executor,
      environment,
      code,
      changedCode: options.changedCode ?? "auto",
      clock,
      seed: options.seed ?? 0,
      maxFailures: options.maxFailures ?? Number.POSITIVE_INFINITY,
      failures: { count: 0 },
      reused: new Map<Operator.Any, number>(),
      begins: options.begins,
    }
    const ledger = (): Ledger.Ledger => Object.fromEntries(nodes.map(({ id, tally }) => [id, tally.ledger()]))

    const work = Effect.fnUntraced(function* (id: number) {
      const context: RunContext = { ...shared, run: id }
      const wires = yield* wire(graph)
      const sources = Object.entries(graph.inputs).map(([input, port]) =>
        feed(context, input, port.record, inputs[input]!, wires.from(input), taken[input]!),
      )
      const runners = nodes.map(({ node, tally, underway }, index) =>
        NodeRunner.run(
          { ...context, node, index, tally, underway, outlets: wires.from(node.id) },
          wires.into(node.id, ""),
          wires.sides(node.id),
        ),
      )
      const sinks = Object.keys(graph.outputs).map((output) =>
        Flow.forEachChunk(
          wires.into(`output ${output}`, ""),
          () => ({ min: 1, max: Flow.chunk }),
          (items) => {
            given[output]! += items.length
            return journal.outputs(
              id,
              output,
              items.map((item) => item.id),
            )
          },
        ),
      )
      const all = Effect.all([...sources, ...runners, ...sinks], { concurrency: "unbounded", discard: true })
      yield* options.failing === undefined ? all : Effect.raceFirst(all, options.failing)
    })

    const statusOf = (exit: Exit.Exit<unknown, unknown>): RunStatus => {
      if (Exit.isSuccess(exit)) return shared.failures.count > 0 ? "finished-with-failures" : "done"
      return exit.cause.reasons.every(({ _tag }) => _tag === "Interrupt") ? "interrupted" : "failed"
    }
    /** Problems of closing the layers of operators. */
    let unclosed: ReadonlyArray<string> = []
    const close = Effect.map(environment.close, (problems) => void (unclosed = problems))
    const warnings = (): ReadonlyArray<string> => [
      ...[...shared.reused].map(([operator, count]) => ChangedCode.warning(operator, count)),
      ...GraphChecks.unreadableCode(code),
      ...[...executor.notes(), ...unclosed].map(Secrets.masked),
    ]
    const end = (id: number, exit: Exit.Exit<unknown, unknown>) => {
      const problem = Exit.isFailure(exit) ? GraphChecks.problemOf(exit.cause) : undefined
      const noted = Effect.suspend(() => {
        const row: RunEnd = {
          endedMs: clock.currentTimeMillisUnsafe(),
          status: statusOf(exit),
          ledger: JSON.stringify(ledger()),
          ...(problem === undefined ? {} : { problem }),
          notes: warnings(),
        }
        return journal.endRun(id, row)
      })
      // What ended a run early is not to be hidden by a journal that cannot say so.
      return Exit.isSuccess(exit) ? noted : Effect.ignore(noted)
    }
    // Once it is in the journal that a run began, its end is to be there too, unless the process is killed.
    yield* Effect.uninterruptibleMask((restore) =>
      Effect.flatMap(begun, (id) =>
        Effect.onExit(restore(work(id)), (exit) => Effect.andThen(close, end(id, exit))),
      ),
    )
    return {
      run: name,
      graph: graph.name,
      version: graph.version,
      status: shared.failures.count > 0 ? "finished-with-failures" : "done",
      startedMs,
      endedMs: clock.currentTimeMillisUnsafe(),
      ledger: ledger(),
      inputs: Object.fromEntries(Object.entries(taken).map(([input, { count }]) => [input, count])),
      outputs: given,
      warnings: warnings(),
    } satisfies Report
  },
  GraphChecks.journalErrors,
  storeErrors,
) as any

const checkInputs = (
  graph: Graph.Graph,
  given: ReadonlyArray<string>,
): Effect.Effect<void, InputsMismatch> => {
  const has = Object.keys(graph.inputs)
  const missing = has.filter((input) => !given.includes(input))
  const unknown = given.filter((input) => !has.includes(input))
  return missing.length + unknown.length === 0
    ? Effect.void
    : Effect.fail(new InputsMismatch({ graph: graph.name, missing, unknown, has }))
}

/** `curate-20260114-093042-k3f9` */
const runName = (graph: string, startedMs: number): Effect.Effect<string> =>
  Effect.map(Random.nextIntBetween(0, 36 ** 4), (random) => {
    const [date, time] = new Date(startedMs).toISOString().split("T") as [string, string]
    return `${graph}-${date.replaceAll("-", "")}-${time.slice(0, 8).replaceAll(":", "")}-${random.toString(36).padStart(4, "0")}`
  })

/** The queues of a graph: one in front of every input of every node, and of every output of the graph. */
const wire = (graph: Graph.Graph) =>
  Effect.gen(function* () {
    const inlets = new Map<string, Flow.Inlet>()
    const outlets = new Map<string, Array<Flow.Inlet>>()
    const connect = function* (from: string, to: string, side: string) {
      const inlet = yield* Flow.inlet()
      inlets.set(`${to}\0${side}`, inlet)
      const list = outlets.get(from) ?? []
      outlets.set(from, list)
      list.push(inlet)
    }
    for (const node of graph.nodes) {
      yield* connect(node.input, node.id, "")
      for (const [side, from] of Object.entries(node.sides)) yield* connect(from, node.id, side)
    }
    for (const [output, from] of Object.entries(graph.outputs)) yield* connect(from, `output ${output}`, "")
    return {
      from: (source: string): ReadonlyArray<Flow.Inlet> => outlets.get(source) ?? [],
      into: (to: string, side: string): Flow.Inlet => inlets.get(`${to}\0${side}`)!,
      sides: (to: string): { readonly [side: string]: Flow.Inlet } =>
        Object.fromEntries(
          Object.keys(graph.nodes.find((node) => node.id === to)!.sides).map((side) => [
            side,
            inlets.get(`${to}\0${side}`)!,
          ]),
        ),
    }
  })

/**
 * Takes records in through an input: stored first, then passed on. What a slow source has given is not held back
 * until a chunk is full; what a fast one gives while a chunk is stored makes up the next.
 */
const feed = <E, R>(
  { journal, run }: RunContext,
  input: string,
  schema: Parameters<typeof RecordCodec.of>[0],
  records: Stream.Stream<unknown, E, R>,
  outlets: ReadonlyArray<Flow.Inlet>,
  taken: { count: number; ended: boolean },
): Effect.Effect<void, E | RecordInvalid | JournalError, R> => {
  const codec = RecordCodec.of(schema)
  return Effect.gen(function* () {
    const arrived = yield* Queue.bounded<unknown, Cause.Done>(Flow.chunk)
    const pull = Effect.andThen(
      Stream.runForEachArray(records, (values) => Queue.offerAll(arrived, values)),
      Queue.end(arrived),
    )
    const store = Flow.forEachChunk(
      arrived,
      () => ({ min: 1, max: Flow.chunk }),
      (values) =>
        Effect.gen(function* () {
          const rows: Array<NewItem> = []
          for (const value of values) {
            try {
              rows.push(codec.encode(value))
            } catch (cause) {
              return yield* new RecordInvalid({
                input,
                position: taken.count + rows.length,
                problem: cause instanceof Error ? cause.message : String(cause),
              })
            }
          }
          const ids = yield* journal.items(run, input, rows)
          taken.count += ids.length
          const items = ids.map((id, i): Flow.Item => ({
            id,
            digest: rows[i]!.digest,
            record: rows[i]!.record,
          }))
          yield* Flow.send(outlets, items)
        }),
    )
    yield* Effect.all([pull, store], { concurrency: "unbounded", discard: true })
    taken.ended = true
    yield* Flow.end(outlets)
  })
}
