/**
 * Lineage against brute force: operators note what they really made of what; lineage of every item, both ways, is the
 * closure over these notes. Values are few, so that records collide: what a call gives is often what it, or another
 * call, was given.
 */
import fs from "node:fs"
import os from "node:os"
import { join } from "node:path"

import { assert, describe, it } from "@effect/vitest"
import { Digest, drop, Graph, keep, Operator } from "@reelgraph/core"
import { BlobStoreMemory, Journal, JournalShared, Lineage, Objects } from "@reelgraph/store"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Option from "effect/Option"
import * as Schema from "effect/Schema"
import * as Stream from "effect/Stream"

import { go, memory, Num, inline, num, version } from "./harness.ts"

/** What operators did: parents by child, and what they passed on or lost. Items are known by their numbers. */
class Notes {
  readonly parents = new Map<number, Set<number>>()
  readonly passed = new Set<number>()
  readonly lost = new Set<number>()
  readonly takenIn = new Set<number>()

  made(child: number, from: ReadonlyArray<number>): number {
    const parents = this.parents.get(child) ?? new Set()
    this.parents.set(child, parents)
    for (const parent of from) parents.add(parent)
    return child
  }
  parentsOf(item: number): ReadonlyArray<number> {
    return sorted(this.parents.get(item) ?? [])
  }
  childrenOf(item: number): ReadonlyArray<number> {
    return sorted([...this.parents].filter(([, from]) => from.has(item)).map(([child]) => child))
  }
  closure(item: number, next: (item: number) => ReadonlyArray<number>): ReadonlyArray<number> {
    const met = new Set([item])
    for (const one of met) for (const other of next(one)) met.add(other)
    return sorted(met)
  }
}

const sorted = (numbers: Iterable<number>): ReadonlyArray<number> =>
  [...new Set(numbers)].sort((a, b) => a - b)

const Kinds = ["map", "filter", "flatMap", "batch", "collect"] as const
const Small = Schema.Int.check(Schema.isBetween({ minimum: 0, maximum: 20 }))

/** A node: what it does, the edges it reads (by position, wrapping around), its side input and a number to do it with. */
const Nodes = Schema.Array(
  Schema.Struct({
    kind: Schema.Literals(Kinds),
    from: Small,
    side: Schema.Literals(["none", "one", "all"]),
    sideFrom: Small,
    by: Small,
    concurrency: Schema.Literals([1, 3]),
  }),
).check(Schema.isMinLength(1), Schema.isMaxLength(9))
type Node = (typeof Nodes.Type)[number]
const Numbers = Schema.Array(Small).check(Schema.isMinLength(1), Schema.isMaxLength(8))

const By = Schema.Struct({ by: Schema.Int, domain: Schema.Int })
type Params = typeof By.Type

/** A number that depends on all of its arguments and on nothing else. */
const mixed = (...numbers: ReadonlyArray<number>): number =>
  numbers.reduce((hash, n) => Math.imul(hash ^ (n + 0x9e3779b9), 0x85ebca6b) >>> 7, 17)

type Call = { readonly sides: { readonly given?: Num | ReadonlyArray<Num> } }

/** Every operator notes what it does. What it does follows from its params, its item and its side input. */
const operatorOf = (notes: Notes, { concurrency, kind, side }: Node): any => {
  const sides =
    side === "none" ? {} : { sides: { given: side === "one" ? Operator.one(Num) : Operator.all(Num) } }
  const common: any = { version, input: Num, output: Num, params: By, concurrency, ...sides }
  const beside = ({ sides }: Call): ReadonlyArray<number> =>
    sides.given === undefined ? [] : [sides.given].flat().map((record) => record.n)
  const name = `${kind.toLowerCase()}-${side}-${concurrency}`
  const value = (n: number, at: number, { by, domain }: Params, call: Call) =>
    mixed(n, at, by, ...beside(call)) % domain
  const one = (n: number, params: Params, call: Call): Num =>
    num(notes.made(value(n, 0, params, call), [n, ...beside(call)]))
  switch (kind) {
    case "map":
      return Operator.map(name, {
        ...common,
        run: ({ n }: Num, params: Params, call: Call) => Effect.sync(() => one(n, params, call)),
      })
    case "batch":
      return Operator.batch(name, {
        ...common,
        size: 3,
        run: (records: ReadonlyArray<Num>, params: Params, call: Call) =>
          Effect.sync(() =>
            records.map(({ n }) => {
              if (value(n, 1, params, call) % 3 > 0) return one(n, params, call)
              notes.lost.add(n)
              return drop("odd")
            }),
          ),
      })
    case "filter":
      return Operator.filter(name, {
        ...common,
        run: ({ n }: Num, params: Params, call: Call) =>
          Effect.sync(() => {
            const keeps = value(n, 0, params, call) % 4 > 0
            ;(keeps ? notes.passed : notes.lost).add(n)
            return keeps ? keep : drop("odd")
          }),
      })
    case "flatMap":
      return Operator.flatMap(name, {
        ...common,
        run: ({ n }: Num, params: Params, call: Call) =>
          Effect.sync(() =>
            Array.from({ length: value(n, 9, params, call) % 4 }, (_, at) =>
              // The first is often the record itself, and some are given twice.
              num(
                notes.made(at === 0 && params.by % 2 === 0 ? n : value(n, at % 2, params, call), [
                  n,
                  ...beside(call),
                ]),
              ),
            ),
          ),
      })
    case "collect":
      return Operator.collect(name, {
        ...common,
        run: (records: ReadonlyArray<Num>, params: Params, call: Call) =>
          Effect.sync(() => {
            const members = records.map(({ n }) => n)
            const emitted = Array.from({ length: params.by % 3 }, (_, at) => {
              const from = members.flatMap((n, i) => (value(n, at, params, call) % 3 === 0 ? [i] : []))
              // Equal to a member, or to anything.
              const n = members.length > 0 && params.by % 4 < 2 ? members[0]! : value(at, 7, params, call)
              notes.made(n, [...from.map((i) => members[i]!), ...beside(call)])
              return Operator.emit(num(n), from)
            })
            const rest = members.map((n, at) => {
              const passes = value(n, 5, params, call) % 2 === 0
              ;(passes ? notes.passed : notes.lost).add(n)
              return passes ? Operator.pass(at) : Operator.dropAt(at, drop("rest"))
            })
            return [...emitted, ...rest]
          }),
      })
  }
}

/** A side input of one takes what the collect `only` gives, which is one record however many come in. */
const graphOf = (notes: Notes, nodes: ReadonlyArray<Node>, domain: number) => {
  const Only = Operator.collect("only", {
    version,
    input: Num,
    output: Num,
    run: (records) =>
      Effect.sync(() => {
        const n = records[0]?.n ?? 0
        notes.made(
          n,
          records.map((record) => record.n),
        )
        return [
          Operator.emit(
            num(n),
            records.map((_, at) => at),
          ),
        ]
      }),
  })
  return Graph.make("random", { version }, (g) => {
    const edges: Array<any> = [g.input("a", Num), g.input("b", Num)]
    const operators = new Map<string, any>()
    nodes.forEach((node, i) => {
      const name = `${node.kind} ${node.side} ${node.concurrency}`
      // One value for each name: a graph holds no two operators of one name.
      if (!operators.has(name)) operators.set(name, operatorOf(notes, node))
      const placed = operators.get(name)({ by: node.by, domain }).as(`n${i}`)
      const given = edges[node.sideFrom % edges.length]
      const side = node.side === "one" ? given.pipe(Only().as(`only${i}`)) : given
      edges.push(
        edges[node.from % edges.length].pipe(node.side === "none" ? placed : placed.with({ given: side })),
      )
    })
    return Object.fromEntries(edges.map((edge, i) => [`e${i}`, edge]))
  })
}

const numberOf = (journal: typeof Journal.Service, id: number): number => {
  const { n } = JSON.parse(journal.item(id)!.record) as { n?: number }
  assert.isDefined(n, `${journal.item(id)!.record} is no record of the graph`)
  return n
}

/** Compares lineage with the notes: of every item each link of one call, and both closures. */
const check = (journal: typeof Journal.Service, notes: Notes, domain: number) => {
  const known = (id: number) => numberOf(journal, id)
  let sets = 0
  for (let n = 0; n < Math.max(domain, 21); n++) {
    const item = journal.itemByDigest(digestOf(n))
    if (item === undefined) {
      assert.isUndefined(notes.parents.get(n))
      continue
    }
    sets += 2
    const up = Lineage.up(journal, [item.id])
    const down = Lineage.down(journal, [item.id])
    const numbers = (items: Iterable<number>) => sorted([...items].map(known))
    const direct = (walk: Lineage.Walk) => numbers(walk.get(item.id)!.links.flatMap(({ items }) => items))
    assert.deepStrictEqual(direct(up), notes.parentsOf(n), `parents of ${n}`)
    assert.deepStrictEqual(direct(down), notes.childrenOf(n), `children of ${n}`)
    assert.deepStrictEqual(
      numbers(up.keys()),
      notes.closure(n, (one) => notes.parentsOf(one)),
      `ancestors of ${n}`,
    )
    assert.deepStrictEqual(
      numbers(down.keys()),
      notes.closure(n, (one) => notes.childrenOf(one)),
      `descendants of ${n}`,
    )
    assert.strictEqual(up.get(item.id)!.keptBy.length > 0, notes.passed.has(n), `${n} is passed on`)
    assert.strictEqual(down.get(item.id)!.keptBy.length > 0, notes.passed.has(n), `${n} is passed on`)
    assert.strictEqual(down.get(item.id)!.lostBy.length > 0, notes.lost.has(n), `${n} is lost`)
    assert.deepStrictEqual(
      numbers(Lineage.sources(up)),
      numbers(up.keys()).filter(
        (one) => notes.takenIn.has(one) || notes.parentsOf(one).every((parent) => parent === one),
      ),
      `sources of ${n}`,
    )
    // Nothing that is first descends from another start, unless that descends from it.
    const starts = [...down.keys()]
    const firsts = numbers(Lineage.firsts(Lineage.down(journal, starts), starts))
    const above = (one: number) => notes.closure(one, (other) => notes.parentsOf(other))
    assert.deepStrictEqual(
      firsts,
      numbers(starts).filter((one) =>
        numbers(starts).every((other) => !above(one).includes(other) || above(other).includes(one)),
      ),
      `firsts below ${n}`,
    )
  }
  return sets
}

const digests = new Map<number, string>()
const digestOf = (n: number): string => {
  let digest = digests.get(n)
  if (digest === undefined) digests.set(n, (digest = Digest.ofJson(num(n))))
  return digest
}

const run = (
  notes: Notes,
  nodes: ReadonlyArray<Node>,
  domain: number,
  a: ReadonlyArray<number>,
  b: ReadonlyArray<number>,
) => {
  for (const n of [...a, ...b]) notes.takenIn.add(n % domain)
  const inputs = { a: a.map((n) => num(n % domain)), b: b.map((n) => num(n % domain)) }
  return go(graphOf(notes, nodes, domain), inputs)
}

const Domain = Schema.Int.check(Schema.isBetween({ minimum: 2, maximum: 17 }))

describe("lineage", { timeout: 120_000 }, () => {
  it.effect.prop(
    "of every item, both ways, is the closure over what the operators did",
    [Nodes, Nodes, Numbers, Numbers, Domain],
    ([nodes, others, a, b, domain]) =>
      Effect.gen(function* () {
        const notes = new Notes()
        yield* run(notes, nodes, domain, a, b)
        const journal = yield* Journal
        assert.isAbove(check(journal, notes, domain), 0)
        // From the cache as well, and with another graph in the same journal.
        yield* run(notes, nodes, domain, a, b)
        yield* run(notes, others, domain, b, a)
        check(journal, notes, domain)
      }).pipe(Effect.provide(memory)),
    { arbitrary: { runs: 100, seed: 7 } },
  )

  it.live.prop(
    "on another machine, told in segments, is the same",
    [Nodes, Numbers, Numbers, Domain],
    ([nodes, a, b, domain]) =>
      Effect.gen(function* () {
        const folder = yield* Effect.acquireRelease(
          Effect.sync(() => fs.mkdtempSync(join(os.tmpdir(), "reelgraph-lineage-"))),
          (path) => Effect.sync(() => fs.rmSync(path, { recursive: true, force: true })),
        )
        const bucket = new Map<string, Uint8Array<ArrayBuffer>>()
        const on = (file: string) =>
          Layer.mergeAll(
            JournalShared.layer(join(folder, file), { durability: "normal", segmentSize: 2000 }).pipe(
              Layer.provide(objectsIn(bucket)),
            ),
            BlobStoreMemory.layer,
            inline,
          )
        const notes = new Notes()
        yield* Effect.provide(run(notes, nodes, domain, a, b), on("here.db"))
        yield* Effect.provide(
          Journal.use((journal) => Effect.sync(() => check(journal, notes, domain))),
          on("there.db"),
        )
      }),
    { arbitrary: { runs: 6, seed: 7 } },
  )
})

const objectsIn = (bucket: Map<string, Uint8Array<ArrayBuffer>>) =>
  Layer.succeed(
    Objects,
    Objects.of({
      put: (name, bytes) => Effect.sync(() => void bucket.set(name, new Uint8Array(bytes))),
      get: (name) => Effect.sync(() => Option.fromNullishOr(bucket.get(name))),
      list: (folder) =>
        Stream.suspend(() =>
          Stream.fromIterable([...bucket.keys()].filter((name) => name.startsWith(`${folder}/`)).sort()),
        ),
      remove: (name) => Effect.sync(() => void bucket.delete(name)),
    }),
  )
