import { createHash } from "node:crypto"
import { readFileSync } from "node:fs"
import { DatabaseSync } from "node:sqlite"
import { gunzipSync, gzipSync } from "node:zlib"

import { assert, describe, it } from "@effect/vitest"
import { Effect, Schema } from "effect"
import { type CallRow, JournalSegment, type NewItem, Status } from "../src/index.ts"
import * as Export from "../src/internal/journal/export.ts"
import * as Import from "../src/internal/journal/import.ts"
import * as Sets from "../src/internal/journal/sets.ts"
import * as Reader from "../src/internal/journal/reader.ts"
import * as Tables from "../src/internal/journal/schema.ts"
import { JournalWriter } from "../src/internal/journal/JournalWriter.ts"
import { type Bucket, lineageOfOld, pictureOf, rightOfOld } from "./sharing.ts"

const digest = (text: string): string => createHash("sha256").update(text).digest("hex")
/** A record is known by its digest. */
const item = (name: string, artifacts: ReadonlyArray<string> = []): NewItem => {
  const files = artifacts.map((sha256) => ({ _tag: "Artifact", sha256, bytes: 1, mediaType: "video/mp4" }))
  const record = JSON.stringify(files.length === 0 ? { name } : { name, files })
  return { digest: digest(record), record, artifacts }
}

/** A journal in memory, with what its threads do done here. */
const journalOf = (size = 1000) => {
  const db = new DatabaseSync(":memory:")
  for (const step of Tables.steps) db.exec(step)
  Export.begin(db)
  const writer = new JournalWriter(db)
  const read = Reader.make(db, ":memory:")
  let clock = 0
  // oxlint-disable-next-line typescript/no-unnecessary-type-parameters -- what a request is answered with
  const one = <A>(request: Parameters<JournalWriter["transact"]>[0][number]): A =>
    writer.transact([request])[0] as A
  const id = (name: string): number => read.itemByDigest(item(name).digest)!.id
  /** Puts what is new into a bucket; without a mark, as one that is killed before it has noted that. */
  const tell = (bucket: Bucket, options: { readonly mark?: boolean } = {}): number => {
    for (let count = 0; ; count++) {
      const next = Export.next(db, { nowMs: clock, size })
      if (next === undefined) return count
      bucket.set(next.mark.name, next.bytes)
      if (options.mark === false) return count + 1
      Export.exported(db, next.mark)
      if (!next.more) return count + 1
    }
  }
  const bring = (bucket: Bucket, names: ReadonlyArray<string>): number =>
    names.reduce((missing, name) => missing + Import.importSegment(db, name, bucket.get(name)!), 0)
  return {
    db,
    read,
    id,
    tell,
    bring,
    picture: () => pictureOf(db),
    hear: (bucket: Bucket): number => bring(bucket, Import.unseen(db, [...bucket.keys()].sort())),
    begin: (name: string, nodes: ReadonlyArray<string> = ["a", "b", "c"]): number =>
      one({
        _tag: "BeginRun",
        row: { name, graph: "g", version: "1.0.0", digest: "", definition: "{}", startedMs: clock, nodes },
      }),
    end: (run: number, ...notes: ReadonlyArray<string>): void =>
      one({ _tag: "EndRun", run, end: { endedMs: ++clock, status: "done", ledger: "{}", notes } }),
    items: (run: number, ...items: ReadonlyArray<NewItem>) =>
      one<ReadonlyArray<number>>({ _tag: "Items", run, port: "in", items }),
    outputs: (run: number, ...items: ReadonlyArray<number>): void =>
      one({ _tag: "Outputs", run, port: "out", items }),
    operator: (name: string, sides: { readonly [side: string]: number } = {}): number =>
      one({
        _tag: "Operator",
        row: { digest: digest(`op ${name}`), name, version: "1", params: "{}", seed: 7, source: "s", sides },
      }),
    set: (...members: ReadonlyArray<number>): number => {
      const digests = members.map((member) => read.item(member)!.digest)
      return one<{ id: number }>({ _tag: "Set", digest: Sets.digestOf(digests), members }).id
    },
    call: (run: number, node: number, row: Partial<CallRow> & Pick<CallRow, "input" | "operator">) =>
      one<ReadonlyArray<{ call: number; outputs: ReadonlyArray<number>; adopted: number | undefined }>>({
        _tag: "Calls",
        run,
        node,
        rows: [{ status: Status.done, outputs: [], attempts: 1, startedMs: ++clock, ms: 1.5, ...row }],
      })[0]!,
    hits: (run: number, node: number, ...calls: ReadonlyArray<number>): void =>
      one({ _tag: "Hits", run, node, calls }),
    at: (time: number) => void (clock = time),
  }
}
type Made = ReturnType<typeof journalOf>

/** One run with everything in it, and a second one that reuses it. */
const everything = (journal: Made): void => {
  const run = journal.begin("first")
  const blob = digest("blob")
  const [a, b, c] = journal.items(run, item("a", [blob]), item("b"), item("c")) as [number, number, number]
  const filter = journal.operator("filter")
  const kept = journal.call(run, 0, { input: a, operator: filter, outputs: [a] })
  journal.call(run, 0, { input: b, operator: filter, outputs: [b], place: "h100-3 gpu 2" })
  journal.call(run, 0, {
    input: c,
    operator: filter,
    status: Status.dropped,
    reason: "dark",
    detail: "luma 3",
  })
  // A side input took one of them twice.
  const all = journal.set(a, b, a)
  const [sum] = journal.call(run, 1, {
    input: all,
    operator: journal.operator("sum"),
    outputs: [item("sum", [digest("sum blob")]), a],
    parents: [[a, b], [a]],
    drops: [{ item: b, reason: "duplicate", detail: "of a" }],
  }).outputs as [number]
  const sided = journal.operator("sided", { model: sum, all })
  journal.call(run, 2, { input: a, operator: sided, status: Status.failed, reason: "Busy", detail: "later" })
  journal.call(run, 2, { input: b, operator: sided, outputs: [] })
  journal.outputs(run, sum)
  journal.end(run, "a node failed (h100-3)", 'a "second" thing')
  const second = journal.begin("second")
  journal.items(second, item("a", [blob]))
  journal.hits(second, 0, kept.call)
  journal.call(second, 2, { input: a, operator: sided, outputs: [item("made good")] })
  journal.end(second)
  const last = journal.begin("third")
  journal.items(last, item("d"))
}

describe("a journal told in segments", { timeout: 180_000 }, () => {
  for (const size of [100, 2000, 1_000_000])
    it(`is the same elsewhere, in segments of ${size} characters`, () => {
      const here = journalOf(size)
      everything(here)
      const bucket: Bucket = new Map()
      const count = here.tell(bucket)
      if (size === 1_000_000) assert.strictEqual(count, 1)
      else assert.isAbove(count, size === 100 ? 10 : 1)
      const there = journalOf()
      assert.strictEqual(there.hear(bucket), 0)
      assert.deepStrictEqual(there.picture(), here.picture())
      assert.isAbove(there.picture().used.length, 5)
      assert.deepStrictEqual(
        there.read.runs().map(({ notes }) => notes.length),
        [2, 0, 0],
      )
      // In any other order too, once more after those that referred to what was not there yet.
      const backwards = journalOf()
      const names = [...bucket.keys()].sort().toReversed()
      backwards.bring(bucket, names)
      for (const _ of names) backwards.bring(bucket, Import.incomplete(backwards.db))
      assert.deepStrictEqual(Import.incomplete(backwards.db), [])
      assert.deepStrictEqual(backwards.picture(), here.picture())
    })

  it("tells each row once, and nothing that came from others", () => {
    const bucket: Bucket = new Map()
    const [a, b] = [journalOf(), journalOf()]
    everything(a)
    a.tell(bucket)
    b.hear(bucket)
    const run = b.begin("of b")
    const [x] = b.items(run, item("x")) as [number]
    b.call(run, 0, { input: x, operator: b.operator("filter"), outputs: [item("y")] })
    b.end(run)
    const before = new Set(bucket.keys())
    b.tell(bucket)
    const told = [...bucket].filter(([name]) => !before.has(name))
    const text = told.map(([, bytes]) => gunzipSync(bytes).toString()).join("")
    assert.include(text, item("y").digest)
    for (const name of ["made good", "d"]) {
      assert.isDefined(b.id(name))
      assert.notInclude(text, item(name).digest)
    }
    assert.strictEqual(b.tell(bucket), 0)
    a.hear(bucket)
    assert.deepStrictEqual(a.picture(), b.picture())
    // What a has from b is no news of a's. Its third run goes on, and is told again each time it is twice as old.
    assert.strictEqual(a.tell(bucket), 0)
    a.at(1000)
    assert.strictEqual(a.tell(bucket), 1)
    assert.strictEqual(a.tell(bucket), 0)
  })

  it("told twice, because its process was killed before it had noted it, is the same", () => {
    const bucket: Bucket = new Map()
    const here = journalOf(400)
    everything(here)
    let rounds = 0
    // Every segment is put twice under two names.
    for (let count = 1; count > 0; rounds++) {
      here.tell(bucket, { mark: false })
      const next = Export.next(here.db, { nowMs: 5, size: 400 })
      count = next === undefined ? 0 : 1
      if (next === undefined) continue
      bucket.set(next.mark.name, next.bytes)
      Export.exported(here.db, next.mark)
      if (rounds > 100) break
      count = next.more ? 1 : 0
    }
    assert.isAbove(bucket.size, 2 * 5)
    const there = journalOf()
    there.hear(bucket)
    there.bring(bucket, [...bucket.keys()])
    assert.deepStrictEqual(there.picture(), here.picture())
    // Nor does it change the journal that wrote them.
    const before = here.picture()
    here.bring(bucket, [...bucket.keys()])
    assert.deepStrictEqual(here.picture(), before)
  })

  it("says once what happened on the way of a run: when it has ended", () => {
    const bucket: Bucket = new Map()
    const here = journalOf(100)
    const run = here.begin("long")
    here.items(run, item("a"), item("b"))
    here.tell(bucket)
    const there = journalOf()
    there.hear(bucket)
    assert.deepInclude(there.read.run("long"), { status: "running", notes: [] })
    here.at(1000)
    here.end(run, "a node failed")
    here.tell(bucket)
    there.hear(bucket)
    assert.deepInclude(there.read.run("long"), { status: "done", notes: ["a node failed"] })
    const text = [...bucket.values()].map((bytes) => gunzipSync(bytes).toString()).join("")
    assert.lengthOf(text.match(/a node failed/g)!, 1)
    // Heard in the wrong order, and from one that goes on as well.
    const backwards = journalOf()
    backwards.bring(bucket, [...bucket.keys()].sort().toReversed())
    assert.deepStrictEqual(backwards.read.run("long")!.notes, ["a node failed"])
  })

  it("of version 1 is brought in as it was", () => {
    const bytes = new Uint8Array(readFileSync(new URL("journals/segment-1.ndjson.gz", import.meta.url)))
    assert.include(gunzipSync(bytes).toString(), `"version":1,`)
    const bucket: Bucket = new Map([[JournalSegment.nameOf(10, "0123456789abcdef", "00000000"), bytes]])
    const there = journalOf()
    assert.strictEqual(there.hear(bucket), 0)
    const run = there.read.run("old-run")!
    assert.deepInclude(run, { status: "finished-with-failures", endedMs: 9, notes: [] })
    assert.lengthOf(there.read.places(run.id), 1)
    assert.lengthOf(there.read.failures(run.id), 1)
    assert.lengthOf(there.read.producers(there.id("made")), 1)
  })

  it("of version 2 is brought in, and told what was passed on from what was made", () => {
    const bytes = new Uint8Array(readFileSync(new URL("journals/segment-2.ndjson.gz", import.meta.url)))
    assert.include(gunzipSync(bytes).toString(), `"version":2,`)
    const bucket: Bucket = new Map([[JournalSegment.nameOf(10, "0123456789abcdef", "00000000"), bytes]])
    const there = journalOf()
    assert.strictEqual(there.hear(bucket), 0)
    assert.deepStrictEqual(lineageOfOld(there.read), rightOfOld)
    // And from there on as one of today.
    there.db.exec("UPDATE runs SET origin = NULL, closed = 0; DELETE FROM segments")
    const again: Bucket = new Map()
    there.tell(again)
    const further = journalOf()
    assert.strictEqual(further.hear(again), 0)
    assert.deepStrictEqual(lineageOfOld(further.read), rightOfOld)
  })

  it("leaves out a set of an earlier version that has a member several times, until it is made here", () => {
    const here = journalOf(1_000_000)
    const run = here.begin("first")
    const [a, b] = here.items(run, item("a"), item("b")) as [number, number]
    const twice = here.operator("sided", { all: here.set(a, a, b) })
    here.call(run, 0, { input: a, operator: twice, outputs: [item("made")] })
    const bucket: Bucket = new Map()
    here.tell(bucket)
    const [[name, bytes]] = [...bucket] as [[string, Uint8Array]]
    const old = gunzipSync(bytes)
      .toString()
      .replace(`"version":3`, `"version":2`)
      .replace(/(\["members",\d+,)\[(\d+),\2,(\d+)\]/, "$1[$2,$3]")
      .replaceAll(/(\["call",.*),0\]/g, "$1]")
    const there = journalOf()
    assert.isAbove(Import.importSegment(there.db, name, gzipSync(old)), 0)
    assert.lengthOf(there.picture().members, 0)
    assert.lengthOf(there.read.producers(there.id("made")), 0)
    there.set(there.id("a"), there.id("a"), there.id("b"))
    assert.strictEqual(Import.importSegment(there.db, name, gzipSync(old)), 0)
    assert.lengthOf(there.read.producers(there.id("made")), 1)
    assert.deepStrictEqual(there.picture().members, here.picture().members)
  })

  it("of a process that was killed ends as killed elsewhere", () => {
    const bucket: Bucket = new Map()
    const here = journalOf()
    const run = here.begin("lost")
    here.items(run, item("a"))
    here.tell(bucket)
    const there = journalOf()
    there.hear(bucket)
    assert.strictEqual(there.read.run("lost")!.status, "running")
    const { owner } = here.db.prepare("SELECT owner FROM runs").get() as { owner: string }
    const gone = owner.replace(/\.\d+\.\d+\./, ".999999999.1.")
    for (const { db } of [here, there]) db.prepare("UPDATE runs SET owner = ?").run(gone)
    here.tell(bucket)
    const elsewhere = pictureOf(there.db).runs
    there.hear(bucket)
    assert.notDeepEqual(pictureOf(there.db).runs, elsewhere)
    assert.strictEqual(there.db.prepare("SELECT status FROM runs").get()!["status"], "killed")
    assert.strictEqual(here.tell(bucket), 0)
  })
})

describe("of two results of one call", { timeout: 180_000 }, () => {
  const both = () => {
    const [a, b] = [journalOf(), journalOf()]
    const of = (journal: Made, name: string, output: string, at: number) => {
      journal.at(at)
      const run = journal.begin(name)
      const [x] = journal.items(run, item("x")) as [number]
      const operator = journal.operator("op")
      return { run, x, operator, ...journal.call(run, 0, { input: x, operator, outputs: [item(output)] }) }
    }
    return { a, b, inA: of(a, "in a", "from a", 10), inB: of(b, "in b", "from b", 20) }
  }
  const outputOf = (journal: Made): string =>
    (
      JSON.parse(
        journal.read.item(
          journal.read.find(journal.id("x"), journal.read.boundOperator(digest("op op"))!)!.outputs[0]!,
        )!.record,
      ) as { name: string }
    ).name

  it("the first in a file counts, and runs that refer to the other one refer to it", () => {
    const { a, b, inA } = both()
    const bucket: Bucket = new Map()
    a.tell(bucket)
    b.tell(bucket)
    a.hear(bucket)
    b.hear(bucket)
    const third = journalOf()
    third.hear(bucket)
    assert.deepStrictEqual([a, b, third].map(outputOf), ["from a", "from b", "from a"])
    assert.deepStrictEqual(a.read.runsOfCall(inA.call), ["in a", "in b"])
    assert.deepStrictEqual(third.read.runsOfCall(third.read.find(third.id("x"), 1)!.call), ["in a", "in b"])
  })

  it("one that took the place of a lost one counts, and never in the place of a journal's own", () => {
    const { a, b, inA, inB } = both()
    const bucket: Bucket = new Map()
    a.tell(bucket)
    b.hear(bucket)
    b.at(30)
    b.call(inB.run, 0, { input: inB.x, operator: inB.operator, outputs: [item("again")], replaces: inB.call })
    b.tell(bucket)
    a.hear(bucket)
    a.at(40)
    const third = journalOf()
    third.hear(bucket)
    assert.deepStrictEqual([a, b, third].map(outputOf), ["from a", "again", "again"])
    a.call(inA.run, 0, { input: inA.x, operator: inA.operator, outputs: [item("anew")], replaces: inA.call })
    a.tell(bucket)
    b.hear(bucket)
    b.bring(bucket, [...bucket.keys()].sort())
    third.hear(bucket)
    assert.deepStrictEqual([a, b, third].map(outputOf), ["anew", "again", "anew"])
  })

  it("a failure gives way, whoever came first", () => {
    const [a, b] = [journalOf(), journalOf()]
    const bucket: Bucket = new Map()
    const of = (journal: Made, name: string, row: Partial<CallRow>) => {
      const run = journal.begin(name)
      const [x] = journal.items(run, item("x")) as [number]
      journal.call(run, 0, { input: x, operator: journal.operator("op"), ...row })
      journal.tell(bucket)
    }
    of(a, "fails", { status: Status.failed, reason: "Busy" })
    of(b, "works", { outputs: [item("y")] })
    a.hear(bucket)
    b.hear(bucket)
    assert.deepStrictEqual([a, b].map(outputOf), ["y", "y"])
    const third = journalOf()
    third.bring(bucket, [...bucket.keys()].sort().toReversed())
    assert.strictEqual(outputOf(third), "y")
    a.end(1)
    a.tell(bucket)
    third.hear(bucket)
    assert.lengthOf(third.read.failures(third.read.run("fails")!.id), 1)
  })

  it("two runs of one name from two processes are two runs", () => {
    const [a, b] = [journalOf(), journalOf()]
    const bucket: Bucket = new Map()
    for (const [journal, name] of [
      [a, "x"],
      [b, "y"],
    ] as const) {
      journal.items(journal.begin("same"), item(name))
      journal.tell(bucket)
    }
    a.hear(bucket)
    a.bring(bucket, [...bucket.keys()])
    const names = a.read.runs().map(({ name }) => name)
    assert.lengthOf(names, 2)
    assert.strictEqual(names[0], "same")
    assert.match(names[1]!, /^same-[0-9a-f]{8}$/)
  })
})

describe("a segment that cannot be read", { timeout: 180_000 }, () => {
  const told = () => {
    const journal = journalOf(1_000_000)
    everything(journal)
    const bucket: Bucket = new Map()
    journal.tell(bucket)
    const [[name, bytes]] = [...bucket] as [[string, Uint8Array<ArrayBuffer>]]
    return { name, bytes, lines: gunzipSync(bytes).toString().trimEnd().split("\n") }
  }
  const refused = (name: string, bytes: Uint8Array): Error => {
    const journal = journalOf()
    const before = pictureOf(journal.db)
    const segments = () => journal.db.prepare("SELECT count(*) AS n FROM segments").get()!["n"]
    try {
      Import.importSegment(journal.db, name, bytes)
    } catch (cause) {
      assert.deepStrictEqual(pictureOf(journal.db), before)
      assert.strictEqual(segments(), 0)
      return cause as Error
    }
    return assert.fail(`it was imported: ${bytes.length} bytes`)
  }
  const zip = (lines: ReadonlyArray<string>) => gzipSync(`${lines.join("\n")}\n`)

  it("is one error that names it, and nothing of it is imported", () => {
    const { bytes, lines, name } = told()
    const cases: ReadonlyArray<readonly [Uint8Array, RegExp]> = [
      [new Uint8Array(), /unexpected end/],
      [bytes.subarray(0, bytes.length - 9), /unexpected end|incorrect/],
      [Buffer.from("something else"), /incorrect header/],
      [zip(lines.slice(0, -1)), /cut off after line/],
      [zip([...lines.slice(0, -5), lines.at(-1)!]), /ends after/],
      [zip([...lines, "[]"]), /ends after/],
      [zip(["{}", ...lines.slice(1)]), /line 1: /],
      [zip([`{"format":"else","version":1,"journal":"0123456789abcdef"}`]), /line 1: /],
      [zip([lines[0]!, `["item","abc","{}",[]]`]), /line 2: /],
      [zip([lines[0]!, `["gone",1]`]), /no row begins with "gone"/],
      [zip([lines[0]!, `{"a":`]), /line 2: /],
      [zip([lines[0]!, `["members",5,[1]]`, `["end",1]`]), /gives members to item 5/],
      [zip([lines[0]!, `["outputs",[5]]`, `["end",1]`]), /before there is one/],
      [zip([lines[0]!, `["notes",0,["lost"]]`, `["end",1]`]), /refers to run/],
      [zip([lines[0]!, JSON.stringify(["notes", 0, Array(201).fill("")]), `["end",1]`]), /line 2: /],
      [zip([lines[0]!, JSON.stringify(["notes", 0, ["x".repeat(2001)]]), `["end",1]`]), /line 2: /],
      [zip([lines[0]!, `["outputs",[]]`, `["end",1]`]), /before there is one/],
      [zip([lines[0]!, `["known","${digest("a")}"]`, `["members",0,[-1]]`, `["end",2]`]), /line 3: /],
    ]
    for (const [damaged, problem] of cases) {
      const error = refused(name, damaged)
      assert.instanceOf(error, JournalSegment.SegmentDamaged)
      assert.include(error.message, name)
      assert.match(error.message, problem)
    }
    const newer = refused(name, zip([lines[0]!.replace(`"version":3`, `"version":9`), `["whatever"]`]))
    assert.instanceOf(newer, JournalSegment.SegmentNewer)
    assert.include(newer.message, "has format 9, and this reelgraph reads up to 3")
  })

  const whole = told()
  it.effect.prop(
    "whatever byte is damaged, is refused or tells the same",
    [Schema.Int.check(Schema.isBetween({ minimum: 0, maximum: 100_000 })), Schema.Literals([1, 16, 255])],
    ([at, by]) =>
      Effect.sync(() => {
        const { bytes, name } = whole
        const damaged = bytes.slice()
        damaged[at % damaged.length]! ^= by
        const journal = journalOf()
        try {
          Import.importSegment(journal.db, name, damaged)
        } catch (cause) {
          assert.instanceOf(cause, JournalSegment.SegmentDamaged)
          assert.strictEqual(journal.picture().items.length, 0)
          return
        }
        // Parts of a gzip header mean nothing to what it holds.
        assert.isAbove(journal.picture().items.length, 5)
      }),
  )
})

describe("a forged segment", { timeout: 60_000 }, () => {
  /** One run of one call, as an honest journal tells it: `{"name":"x"}` to `{"name":"y"}`. */
  const honest = () => {
    const journal = journalOf(1_000_000)
    const run = journal.begin("theirs")
    const [x, z] = journal.items(run, item("x"), item("z")) as [number, number]
    const set = journal.set(x, z)
    journal.call(run, 0, { input: x, operator: journal.operator("op"), outputs: [item("y")] })
    journal.call(run, 1, {
      input: set,
      operator: journal.operator("collect", { all: set }),
      outputs: [item("all"), x],
      parents: [[x, z], [x]],
    })
    journal.end(run)
    const bucket: Bucket = new Map()
    journal.tell(bucket)
    const [[name, bytes]] = [...bucket] as [[string, Uint8Array]]
    return { name, lines: gunzipSync(bytes).toString().trimEnd().split("\n") }
  }
  const { lines, name } = honest()
  const bytesOf = (changed: ReadonlyArray<string>): Uint8Array => {
    const rows = changed.slice(0, -1)
    return gzipSync(`${[...rows, JSON.stringify(["end", rows.length - 1])].join("\n")}\n`)
  }
  const edited = (...edits: ReadonlyArray<readonly [string | RegExp, string]>): ReadonlyArray<string> =>
    lines.map((line) => edits.reduce((text, [from, to]) => text.replace(from, to), line))
  /** A journal with a result of its own for the same call. */
  const ours = () => {
    const journal = journalOf()
    const run = journal.begin("ours")
    const [x] = journal.items(run, item("x")) as [number]
    journal.call(run, 0, { input: x, operator: journal.operator("op"), outputs: [item("own y")] })
    journal.end(run)
    return journal
  }
  const refused = (changed: ReadonlyArray<string>, journal: Made = ours()): string => {
    assert.notDeepEqual(changed, lines)
    const before = journal.picture()
    try {
      Import.importSegment(journal.db, name, bytesOf(changed))
    } catch (cause) {
      assert.instanceOf(cause, JournalSegment.SegmentDamaged)
      assert.deepStrictEqual(journal.picture(), before)
      assert.include((cause as Error).message, name)
      return (cause as Error).message
    }
    return assert.fail("it was imported")
  }
  const digestOf = (one: string) => item(one).digest

  it("is honest without the forgery", () => {
    const journal = ours()
    assert.strictEqual(Import.importSegment(journal.db, name, bytesOf(lines)), 0)
    assert.isDefined(journal.read.run("theirs"))
  })

  it("that tells a record under the digest of another is refused, and the digest stays free", () => {
    const wrong = "is not that of the record it comes with"
    assert.include(refused(edited([`{\\"name\\":\\"y\\"}`, `{\\"name\\":\\"evil\\"}`])), wrong)
    assert.include(refused(edited([digestOf("y"), digestOf("own y")])), wrong)
    // A digest that no call here has given yet, claimed for something else, or for a set.
    const journal = ours()
    const claiming = (record: string) => {
      const claim = JSON.stringify(["item", digestOf("later"), record, []])
      return [...lines.slice(0, -1), claim, lines.at(-1)!]
    }
    assert.include(refused(claiming(`{"name":"evil"}`), journal), wrong)
    Import.importSegment(journal.db, name, bytesOf(claiming(`{"_tag":"Set","size":2}`)))
    assert.isUndefined(journal.read.itemByDigest(digestOf("later")))
    const run = journal.begin("later")
    const [later] = journal.items(run, item("later")) as [number]
    assert.strictEqual(journal.read.item(later)!.record, item("later").record)
  })

  it("that tells other members of a set, or too few, is refused", () => {
    const members = lines.findIndex((line) => line.startsWith(`["members"`))
    const [, set, [x, z]] = JSON.parse(lines[members]!) as [string, number, [number, number]]
    for (const others of [[x], [x, x], [x, z, z], [z, set]])
      assert.include(
        refused(lines.map((line, at) => (at === members ? JSON.stringify(["members", set, others]) : line))),
        "is not that of the set it comes with",
      )
    assert.include(
      refused([...lines.slice(0, -1), `["members",${set},[${x}]]`, lines.at(-1)!]),
      "gives members to item",
    )
  })

  it("that tells a set without its members leaves out what was made of it, until they come", () => {
    const journal = ours()
    const without = lines.filter((line) => !line.startsWith(`["members"`))
    assert.isAbove(Import.importSegment(journal.db, name, bytesOf(without)), 0)
    assert.lengthOf(journal.read.producers(journal.id("all")), 0)
    assert.strictEqual(Import.importSegment(journal.db, name, bytesOf(lines)), 0)
    assert.lengthOf(journal.read.producers(journal.id("all")), 1)
  })

  it("that names a blob which its record does not, gives what is no JSON, or gives an operator another name, is refused", () => {
    const y = lines.findIndex((line) => line.includes(digestOf("y")))
    const claimed = lines.map((line, at) => (at === y ? line.replace("[]]", `["${digest("blob")}"]]`) : line))
    assert.include(refused(claimed), "does not name the blob")
    const text = `no "JSON`
    const added = JSON.stringify(["item", digest(text), text, []])
    assert.include(refused([...lines.slice(0, -1), added, lines.at(-1)!]), "is no JSON")
    assert.include(
      refused(edited([`"op","1"`, `"evil","1"`])),
      "another name or params than this journal has",
    )
    assert.include(refused(edited([`"op","1","{}"`, `"op","1","{}}"`])), "is no JSON")
  })

  it("cannot touch a run of this journal's own, or a result", () => {
    const journal = ours()
    const { owner } = journal.db.prepare("SELECT owner FROM runs").get() as { owner: string }
    const theirs = JSON.parse(lines.find((line) => line.startsWith(`["run"`))!) as Array<unknown>
    const mine = theirs.map((field, at) => (at === 1 ? "ours" : at === 7 ? owner : field))
    const forged = lines.map((line) => (line.startsWith(`["run"`) ? JSON.stringify(mine) : line))
    assert.include(refused(forged, journal), `the run "ours", which this journal made itself`)
    // Nor as one that claims to be this journal.
    const { journal: id } = journal.db.prepare("SELECT journal FROM exported").get() as { journal: string }
    const before = journal.picture()
    const asOurs = forged.map((line, at) =>
      at === 0 ? line.replace(/"journal":"\w+"/, `"journal":"${id}"`) : line,
    )
    Import.importSegment(journal.db, name, bytesOf(asOurs))
    for (const kind of ["runs", "nodes", "used", "failures", "ports"] as const)
      assert.deepStrictEqual(journal.picture()[kind], before[kind])
    // A result that says that it takes the place of a lost one, and is the latest.
    const call = lines.findIndex((line) => line.startsWith(`["call"`))
    const late = JSON.parse(lines[call]!) as Array<unknown>
    late[10] = 9_000_000_000_000
    late[13] = 1
    const replacing = lines.map((line, at) => (at === call ? JSON.stringify(late) : line))
    const own = ours()
    Import.importSegment(own.db, name, bytesOf(replacing))
    const { outputs } = own.read.find(own.id("x"), own.read.boundOperator(digest("op op"))!)!
    assert.deepStrictEqual(outputs, [own.id("own y")])
  })

  it("whose rows contradict each other is refused", () => {
    const call = lines.findIndex((line) => line.startsWith(`["call"`))
    const change = (at: number, value: unknown) =>
      lines.map((line, row) =>
        row === call ? JSON.stringify((JSON.parse(line) as Array<unknown>).with(at, value)) : line,
      )
    assert.include(refused(change(5, 2)), "not done gives something")
    assert.include(refused(change(14, 1)), "passes on what it did not take")
    assert.include(refused(change(4, [7])), "refers to node 7 of a run that has 3")
    const insert = (text: string) => lines.flatMap((line, at) => (at === call ? [line, text] : [line]))
    assert.include(refused(insert(`["outputs",[0]]`)), "one output and several")
    assert.include(refused(insert(`["parents",3,[0]]`)), "refers to output 3 of 0")
    const outputs = lines.findIndex((line) => line.startsWith(`["passed"`))
    assert.strictEqual(lines[outputs], `["passed",[1]]`)
    assert.include(
      refused(lines.map((line, at) => (at === outputs ? `["passed",[0]]` : line))),
      "passes on what it did not take",
    )
  })

  it("with more of anything than there can be is refused before it is read", () => {
    const last = (row: unknown) => [...lines.slice(0, -1), JSON.stringify(row), lines.at(-1)!]
    for (const row of [
      ["members", 0, Array(501).fill(0)],
      ["passed", Array(501).fill(0)],
      ["ports", 0, "in:in", Array(501).fill(0)],
      ["ports", 0, "p".repeat(5000), [0]],
      ["item", digestOf("y"), item("y").record, Array(1_000_001).fill(digest("b"))],
      ["operator", digest("o"), "o".repeat(5000), "1", "{}", null, "s", []],
      ["call", 0, 0, 0, [2 ** 60], 0, null, null, null, 1, 1, 1, null, 0, 0],
    ])
      assert.match(refused(last(row)), /line \d+: /)
  })
})

const Steps = Schema.Array(
  Schema.Struct({
    journal: Schema.Literals([0, 1]),
    kind: Schema.Literals([
      "run",
      "items",
      "call",
      "call",
      "fail",
      "drop",
      "collect",
      "hit",
      "end",
      "tell",
      "hear",
      "die",
    ]),
    by: Schema.Int.check(Schema.isBetween({ minimum: 0, maximum: 50 })),
  }),
).check(Schema.isMinLength(10), Schema.isMaxLength(60))

/** What a call gives follows from its item and its operator alone. */
const play = (journals: ReadonlyArray<Made>, bucket: Bucket, steps: typeof Steps.Type): void => {
  const runs: Array<number | undefined> = [undefined, undefined]
  let time = 0
  for (const [at, { by, journal: which, kind }] of steps.entries()) {
    const journal = journals[which]!
    journal.at((time += 3))
    const run = (runs[which] ??= journal.begin(`run ${at}`))
    const ids = journal.db.prepare("SELECT id, record FROM items ORDER BY digest").all()
    const plain = ids.filter((row) => !(row["record"] as string).startsWith(`{"_tag"`))
    const input = plain[by % (plain.length || 1)]
    const inputName =
      input === undefined ? "" : (JSON.parse(input["record"] as string) as { name: string }).name
    const operator = journal.operator(`op ${by % 3}`)
    const row = { input: input?.["id"] as number, operator }
    if (kind === "run") runs[which] = journal.begin(`run ${at} again`)
    else if (kind === "items") journal.items(run, ...[0, 1, 2].map((n) => item(`in ${(by + n) % 20}`)))
    else if (kind === "tell") journal.tell(bucket)
    else if (kind === "die") journal.tell(bucket, { mark: false })
    else if (kind === "hear") {
      const names = Import.unseen(journal.db, [...bucket.keys()].sort())
      journal.bring(bucket, by % 2 === 0 ? names : names.toReversed())
    } else if (kind === "end") {
      journal.end(run, ...Array.from({ length: by % 3 }, (_, n) => `note ${by} ${n}`))
      runs[which] = undefined
    } else if (input === undefined || inputName.length > 30) continue
    else if (kind === "call") {
      const outputs = Array.from({ length: by % 3 }, (_, n) => item(`${inputName}.${by % 3}.${n}`))
      if (by % 3 !== 0) journal.call(run, 0, { ...row, outputs })
    } else if (kind === "drop" && by % 3 === 0) {
      journal.call(run, 1, { ...row, status: Status.dropped, reason: "odd" })
    } else if (kind === "fail") journal.call(run, 1, { ...row, status: Status.failed, reason: "Busy" })
    else if (kind === "hit") {
      const call = journal.db.prepare("SELECT id FROM calls WHERE input = ?").get(row.input)
      if (call !== undefined) journal.hits(run, 2, call["id"] as number)
    } else if (kind === "collect") {
      const members = plain.slice(0, 1 + (by % 4)).map((member) => member["id"] as number)
      const set = journal.set(...members)
      const setDigest = journal.read.item(set)!.digest.slice(0, 8)
      journal.call(run, 2, {
        input: set,
        operator: journal.operator(`collect ${setDigest}`, { one: members[0]!, all: set }),
        outputs: [item(`sum ${setDigest}`), members[0]!],
        parents: [members, [members[0]!]],
        drops: members.slice(1).map((member) => ({ item: member, reason: "rest", detail: "" })),
      })
    }
  }
}

it.effect.prop(
  "two journals that work on the same things, tell and hear at any time, in any order, come to say the same",
  [Steps],
  ([steps]) =>
    Effect.sync(() => {
      const bucket: Bucket = new Map()
      const journals = [journalOf(700), journalOf(700)]
      play(journals, bucket, steps)
      for (let round = 0; round < 2; round++)
        for (const journal of journals) {
          journal.at(1e6 * (round + 1))
          journal.tell(bucket)
        }
      const all = [...journals, journalOf()]
      for (const { bring, db, hear } of all) {
        hear(bucket)
        bring(bucket, Import.incomplete(db))
        assert.deepStrictEqual(Import.incomplete(db), [])
      }
      // Of a call that both made it is told of one alone when, where and in which run.
      const said = all.map(({ picture }) => {
        const { made, used, ...rest } = picture()
        return { ...rest, made: made.length, used: used.map((line) => line.replace(/"cached":[01]/, "")) }
      })
      assert.deepStrictEqual(said[1], said[0])
      assert.deepStrictEqual(said[2], said[0])
    }),
  { timeout: 60_000, arbitrary: { runs: 60 } },
)
