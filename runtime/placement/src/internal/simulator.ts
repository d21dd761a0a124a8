/** The events of a simulated run. What the model is, says `Simulation`. */
import type { Graph } from "@reelgraph/core"

import * as Profile from "../Profile.ts"
import type * as Simulation from "../Simulation.ts"
import * as Dice from "./dice.ts"
import * as Duration from "./duration.ts"
import * as Heap from "./heap.ts"
import * as SimulatedNode from "./simulatedNode.ts"
import * as SimulatedPool from "./simulatedPool.ts"
import * as Summary from "./summary.ts"

type Node = SimulatedNode.SimulatedNode
type Task = SimulatedNode.Task
type Outcome = SimulatedNode.Outcome

export type Problem =
  | { readonly _tag: "Unknown"; readonly nodes: ReadonlyArray<string> }
  | { readonly _tag: "Uncounted"; readonly inputs: ReadonlyArray<string> }
  | { readonly _tag: "Homeless"; readonly node: string; readonly problem: string }
  | { readonly _tag: "Endless"; readonly node: string; readonly problem: string }

export type Result =
  | { readonly _tag: "Done"; readonly simulated: Simulation.Simulated }
  | { readonly _tag: "Failed"; readonly problem: Problem }

/** Items that come in through an input. */
interface Source {
  readonly name: string
  readonly arrivals: number | Profile.Arrivals
  readonly consumers: Array<Node>
  readonly sideConsumers: Array<Node>
  readonly dice: Dice.Dice
  /** Items that are still to arrive, and those that have and are not passed on. */
  coming: number
  here: number
  feeding: boolean
  ended: boolean
}

/** Of the workers that are simulated as one, the part of them that begins without the others. */
const quarter = 4

/** Times that the work of one task is lost before a run counts as endless. */
const endless = 200

export const simulate = (options: Simulation.Options, seed: number, tasks: number): Result => {
  const prepared = prepare(options, seed, tasks)
  return "problem" in prepared ? { _tag: "Failed", problem: prepared.problem } : go(options, prepared, seed)
}

interface Prepared {
  readonly nodes: ReadonlyArray<Node>
  readonly pools: ReadonlyMap<string, SimulatedPool.SimulatedPool>
  readonly sources: ReadonlyArray<Source>
  readonly counts: { readonly [input: string]: number }
  /** Seconds that the run takes at least. */
  readonly least: number
}

/** How many items each input has: those that feed nothing but side inputs of exactly one have one. */
const countsOf = (graph: Graph.Graph, { items }: Profile.Profile) => {
  const counts: { [input: string]: number } = {}
  const unknown: Array<string> = []
  for (const input of Object.keys(graph.inputs)) {
    const given = Object.hasOwn(items, input) ? items[input] : undefined
    const drives = graph.nodes.some((node) => node.input === input)
    const asAll = graph.nodes.some(({ operator, sides }) =>
      Object.entries(sides).some(([side, from]) => from === input && operator.sides[side]!.mode === "all"),
    )
    if (given !== undefined) counts[input] = typeof given === "number" ? given : given.count
    else if (drives || asAll) unknown.push(input)
    else counts[input] = 1
  }
  return { counts, unknown }
}

const prepare = (
  { graph, placement, profile }: Simulation.Options,
  seed: number,
  tasks: number,
): Prepared | { readonly problem: Problem } => {
  const { counts, unknown } = countsOf(graph, profile)
  if (unknown.length > 0) return { problem: { _tag: "Uncounted", inputs: unknown } }
  const pools = new Map(
    Object.entries(placement.pools.pools).map(([name, pool]) => [name, SimulatedPool.make(name, pool)]),
  )
  const places = new Map(placement.nodes.map((where) => [where.node, where]))
  const expected = new Map(Object.entries(counts))
  const nodes = new Map<string, Node>()
  const unprofiled: Array<string> = []
  for (const placed of graph.nodes) {
    const where = places.get(placed.id)
    const homeless = (problem: string) => ({
      problem: { _tag: "Homeless", node: placed.id, problem } as const,
    })
    if (where === undefined) return homeless("has no place")
    const pool = pools.get(where.pool)
    if (pool === undefined && where.how !== "driver")
      return homeless(`is placed in a pool ${where.pool} that there is not`)
    const known = Profile.of(profile, placed)
    if (known === undefined && where.how !== "driver") unprofiled.push(placed.id)
    const cost = known ?? Profile.free
    const inCount = expected.get(placed.input)!
    const node = SimulatedNode.make({
      placed,
      where,
      profile: cost,
      pool: where.how === "driver" ? undefined : pool,
      overheads: profile.overheads,
      seed,
      expected: inCount,
      tasks: Math.max(1, tasks / graph.nodes.length),
    })
    if (where.how !== "driver" && where.workers < 1) return homeless(`has no worker in pool ${where.pool}`)
    if (pool !== undefined && where.how !== "driver" && SimulatedPool.room(pool, node.demand) < 1)
      return homeless(`asks for more than all of pool ${where.pool} has`)
    nodes.set(placed.id, node)
    expected.set(placed.id, cost.emits ?? inCount * cost.keep * (1 - cost.poison) * cost.out)
  }
  if (unprofiled.length > 0) return { problem: { _tag: "Unknown", nodes: unprofiled } }
  const sources = Object.keys(graph.inputs).map((name): Source => {
    const arrivals = profile.items[name] ?? counts[name]!
    const atOnce = typeof arrivals === "number"
    return {
      name,
      arrivals,
      consumers: [],
      sideConsumers: [],
      dice: Dice.make(seed, `input ${name}`),
      coming: atOnce ? 0 : arrivals.count,
      here: atOnce ? arrivals : 0,
      feeding: false,
      ended: false,
    }
  })
  const from = (name: string) => nodes.get(name) ?? sources.find((source) => source.name === name)!
  for (const node of nodes.values()) {
    from(node.placed.input).consumers.push(node)
    node.open = 1
    for (const side of Object.values(node.placed.sides)) {
      from(side).sideConsumers.push(node)
      node.sidesOpen++
    }
  }
  const least = Math.max(
    ...[...nodes.values()].map(({ callSeconds, duration, lanes, placed, where }) =>
      where.how === "driver"
        ? 0
        : callSeconds + (expected.get(placed.input)! * duration.mean) / lanes / Math.max(1, where.workers),
    ),
    0,
  )
  return { nodes: [...nodes.values()], pools, sources, counts, least }
}

const go = (options: Simulation.Options, prepared: Prepared, seed: number): Result => {
  const { graph, profile } = options
  const { overheads, storeBytesPerSecond } = profile
  const { nodes, pools, sources } = prepared
  const heap = Heap.make<() => void>()
  // Looks of the driver that nobody can tell apart in a run of days are one.
  const pollSeconds =
    overheads.pollSeconds === 0 ? 0 : Math.max(overheads.pollSeconds, Math.min(2, prepared.least / 100_000))

  let now = 0
  let events = 0
  let driverFree = 0
  let driverSeconds = 0
  let storeFree = 0
  let slurmFree = 0
  let finish = 0
  let looking = false
  let problem: Problem | undefined
  /** Results that workers have committed and the driver has not seen. */
  const committed = new Map<Node, Array<Outcome>>()

  const at = (time: number, event: () => void): void => heap.push(Math.max(now, time), event)

  /** The driver's next look. */
  const look = (): void => {
    if (looking) return
    looking = true
    const next = pollSeconds === 0 ? now : Math.ceil(now / pollSeconds + 1e-9) * pollSeconds
    at(next, () => {
      looking = false
      const seen: Array<readonly [Node, Outcome]> = []
      let items = 0
      for (const [node, outcomes] of committed)
        for (const outcome of seeable(node, outcomes)) {
          seen.push([node, outcome])
          items += outcome.items
        }
      if (seen.length === 0) return dispatch()
      drive(items * overheads.driverSecondsPerItem, () => {
        for (const [node, outcome] of seen) deliver(node, outcome)
        dispatch()
      })
    })
  }

  /** Takes those results out that the nodes they are for have room for; the others stay where they are. */
  const seeable = (node: Node, outcomes: Array<Outcome>): ReadonlyArray<Outcome> => {
    let room = roomOf(node.consumers)
    let count = 0
    while (count < outcomes.length && room > 0) room -= outcomes[count++]!.out
    return outcomes.splice(0, count)
  }

  /** Takes the driver for some seconds, after what it does already. */
  const drive = (seconds: number, then: () => void): void => {
    driverSeconds += seconds
    driverFree = Math.max(driverFree, now) + seconds
    if (driverFree <= now) then()
    else at(driverFree, then)
  }

  const wait = (node: Node, items: number): void => {
    const { tally } = node
    tally.waitingArea += node.waiting * (now - tally.waitingAt)
    tally.waitingAt = now
    if (node.waiting === 0) node.waitingSince = now
    node.waiting += items
    tally.waitingMost = Math.max(tally.waitingMost, node.waiting)
  }

  /** Takes items of those that wait, for a worker. */
  const takeIn = (node: Node, items: number): void => {
    wait(node, -items)
    node.waitingSince = now
    node.inFlight += items
    node.tally.firstSeconds ??= now
  }

  const giveBack = (node: Node, items: number): void => {
    if (items === 0) return
    const back = () => {
      node.inFlight -= items
      wait(node, items)
      dispatch()
    }
    if (overheads.lostSeconds === 0) back()
    else at(now + overheads.lostSeconds, back)
  }

  /** Items passed on to those that take them. */
  const deliver = (node: Node, { failed, items, kept, out }: Outcome): void => {
    const { tally } = node
    node.inFlight -= items
    tally.in += items
    tally.kept += kept
    tally.failed += failed
    tally.out += out
    tally.lastSeconds = now
    finish = now
    if (out > 0) for (const consumer of node.consumers) wait(consumer, out)
  }

  const ready = (node: Node): boolean =>
    node.sidesOpen === 0 && (!node.collects || node.open === 0) && node.waiting > 0

  /** Items that those that are fed here still take: what gathers its input first takes all. */
  const roomOf = (consumers: ReadonlyArray<Node>): number => {
    let room = Number.POSITIVE_INFINITY
    for (const node of consumers)
      if (!node.collects && node.sidesOpen === 0) room = Math.min(room, overheads.queueItems - node.waiting)
    return room
  }

  /** What the driver does whenever something has changed: ends what has ended, hands out work, takes in more. */
  const dispatch = (): void => {
    for (const source of sources)
      if (!source.ended && source.coming === 0 && source.here === 0 && !source.feeding) endOf(source)
    for (const node of nodes)
      if (!node.ended && node.open === 0 && node.sidesOpen === 0 && node.waiting === 0 && node.inFlight === 0)
        endOf(node)
    // Those that are nearest to the end go first: what is begun is finished before more is begun.
    for (let i = nodes.length - 1; i >= 0; i--) {
      const node = nodes[i]!
      if (ready(node) && roomOf(node.consumers) > 0) handOut(node)
      if (node.idle.size > 0 && node.ended) for (const task of node.idle) release(node, task)
    }
    for (const source of sources) feed(source)
    for (const [node, { length }] of committed) if (length > 0 && roomOf(node.consumers) > 0) look()
  }

  const endOf = (ended: Node | Source): void => {
    ended.ended = true
    finish = now
    for (const consumer of ended.consumers) consumer.open--
    for (const consumer of ended.sideConsumers) consumer.sidesOpen--
    if (ended.consumers.length + ended.sideConsumers.length > 0) look()
  }

  const handOut = (node: Node): void => {
    if (node.where.how === "driver") return callHere(node)
    if (node.collects) {
      const items = node.waiting
      takeIn(node, items)
      submit(node, { workers: 1, items, since: now, idle: false })
      return
    }
    const workers = Math.max(1, node.where.workers)
    const places = Math.ceil(workers * (1 + (isSlurm(node) ? overheads.backlog : 0)))
    const enough = node.shard.min * Math.max(1, node.group / quarter)
    const patience = node.group === 1 ? 0 : prepared.least / 20_000
    while (node.waiting > 0) {
      const free = places - node.running - node.queued
      const [idle] = node.idle
      if (free <= 0 && idle === undefined) return
      if (node.waiting < enough && node.open > 0) {
        const until = node.waitingSince + Math.max(overheads.lingerSeconds, patience)
        if (now < until) return linger(node, until)
      }
      const share = Math.ceil(node.waiting / workers)
      const most = node.where.how === "held" ? node.shard.max : node.shard.task
      const each = Math.min(most, Math.max(node.shard.min, share))
      const together = idle?.workers ?? Math.min(node.group, free, Math.ceil(node.waiting / each))
      const items = Math.min(node.waiting, each * together)
      takeIn(node, items)
      if (idle === undefined) {
        submit(node, { workers: together, items, since: now, idle: false })
        continue
      }
      node.idle.delete(idle)
      note(node, idle, "idle", idle.since, now)
      idle.idle = false
      idle.items = items
      work(node, idle)
    }
  }

  /** Looks again when items have waited long enough for others. */
  const linger = (node: Node, until: number): void => {
    if (node.lingering) return
    node.lingering = true
    at(until, () => {
      node.lingering = false
      dispatch()
    })
  }

  const isSlurm = (node: Node): boolean => node.pool?.pool._tag === "Slurm"

  /** A call by the driver itself. */
  const callHere = (node: Node): void => {
    if (node.driverBusy) return
    const stretch = Math.min(overheads.queueItems / 8, 0.5 / Math.max(1e-9, node.duration.mean))
    const items = node.collects ? node.waiting : Math.min(node.waiting, Math.max(1, Math.floor(stretch)))
    takeIn(node, items)
    node.driverBusy = true
    const { work } = Duration.span(node.duration, items, 1, 1, node.dice)
    const seconds = work + node.callSeconds
    node.tally.workSeconds += seconds
    node.seconds.busy += seconds
    node.tally.tasks++
    node.tally.shards++
    drive(seconds + items * overheads.driverSecondsPerItem, () => {
      node.driverBusy = false
      deliver(node, outcomeOf(node, items, callsOf(node, items).failed))
      dispatch()
    })
  }

  const submit = (node: Node, task: Task): void => {
    node.queued += task.workers
    node.tally.tasks += task.workers
    let from = now
    if (isSlurm(node)) {
      slurmFree = Math.max(slurmFree, now) + task.workers / overheads.startsPerSecond
      from = Math.max(now + overheads.submitSeconds, slurmFree)
    }
    node.queue.push({ task, from })
    if (from <= now) startWaiting(node.pool!)
    else at(from, () => startWaiting(node.pool!))
  }

  /** Gives places to tasks that wait for one, in the order in which they came. */
  const startWaiting = (pool: SimulatedPool.SimulatedPool): void => {
    const here = nodes.filter((node) => node.pool === pool && node.queue.length > 0)
    const passed = new Set<Node>()
    let gang = false
    while (!gang) {
      let next: Node | undefined
      for (const node of here) {
        const head = node.queue[0]
        if (head === undefined || head.from > now || passed.has(node)) continue
        if (next === undefined || head.from < next.queue[0]!.from) next = node
      }
      if (next === undefined) break
      const free = Math.min(SimulatedPool.room(pool, next.demand), next.where.workers - next.running)
      const ready = next.queue.reduce((sum, { from, task }) => (from <= now ? sum + task.workers : sum), 0)
      if (free >= Math.min(ready, Math.max(1, next.group / quarter))) start(next, queued(next, free))
      else {
        // Nothing that came later goes before a gang that waits for its places.
        gang = next.where.how === "gang" && next.running < next.where.workers
        passed.add(next)
      }
    }
    if (passed.size > 0) dismissIdle(pool)
  }

  /** Held workers that wait for work make room for others. */
  const dismissIdle = (pool: SimulatedPool.SimulatedPool): void => {
    for (const node of nodes)
      if (node.pool === pool && node.idle.size > 0) {
        const [task] = node.idle
        release(node, task!)
        return
      }
  }

  /** The next that has waited for a place: workers that are simulated as one, up to as many as there are places. */
  const queued = (node: Node, places: number): Task => {
    const most = Math.min(node.group, places)
    const first = node.queue[0]!.task
    if (first.workers >= most) return split(node, most)
    node.queue.shift()
    while (first.workers < most && node.queue.length > 0 && node.queue[0]!.from <= now) {
      const more = split(node, most - first.workers)
      first.workers += more.workers
      first.items += more.items
    }
    return first
  }

  /** At most so many workers of the first task in the queue, with their part of the items. */
  const split = (node: Node, workers: number): Task => {
    const { task } = node.queue[0]!
    if (task.workers <= workers) {
      node.queue.shift()
      return task
    }
    const items = Math.ceil((task.items * workers) / task.workers)
    task.items -= items
    task.workers -= workers
    return { workers, items, since: now, idle: false }
  }

  const note = (
    node: Node,
    task: Task,
    use: SimulatedPool.Use,
    from: number,
    to: number,
    workers = task.workers,
  ): void => {
    node.seconds[use] += workers * (to - from)
    SimulatedPool.note(node.pool!, node.demand, workers, use, from, to)
  }

  const start = (node: Node, task: Task): void => {
    node.queued -= task.workers
    node.running += task.workers
    SimulatedPool.take(node.pool!, node.demand, task.workers)
    const starting = isSlurm(node) ? overheads.workerStartSeconds + node.profile.startupSeconds : 0
    const begun = now
    if (starting === 0) return work(node, task)
    at(now + starting, () => {
      note(node, task, "starting", begun, now)
      work(node, task)
    })
  }

  /** Gives the places of a task back. */
  const release = (node: Node, task: Task): void => {
    if (task.idle) {
      node.idle.delete(task)
      note(node, task, "idle", task.since, now)
      task.idle = false
    }
    node.running -= task.workers
    SimulatedPool.take(node.pool!, node.demand, -task.workers)
    startWaiting(node.pool!)
    // The driver learns of it at its next look.
    if (node.waiting > 0) look()
  }

  const work = (node: Node, task: Task): void => {
    if (task.items === 0) return release(node, task)
    if (node.collects || node.where.how === "gang") return workWhole(node, task)
    const items = Math.min(task.items, node.shard.max * task.workers)
    const { calls, failed } = callsOf(node, items)
    const { seconds, work: worked } = Duration.span(node.duration, calls, node.lanes, task.workers, node.dice)
    const took = transferred(node, items, seconds + (isSlurm(node) ? overheads.commitSeconds : 0))
    const chance = -Math.expm1(-node.lossRate * took)
    const lost = node.dice.binomial(task.workers, chance)
    const begun = now
    if (lost === task.workers) {
      if (node.lossRate * took > 20) return giveUp(node, took)
      // When it is lost: exponential, given that it is before the end.
      const after = Math.min(took, -Math.log1p(-node.dice.uniform() * chance) / node.lossRate)
      return at(now + after, () => lose(node, task, begun))
    }
    at(now + took, () => {
      const left = lost === 0 ? items : Math.floor((items * (task.workers - lost)) / task.workers)
      note(node, task, "busy", begun, now, task.workers - lost)
      node.tally.workSeconds += (worked * left) / items
      node.tally.shards += task.workers - lost
      task.items -= items
      if (lost > 0) loseSome(node, task, lost, items - left, took)
      commit(node, outcomeOf(node, left, Math.min(left, failed)))
      after(node, task)
    })
  }

  /** What a task does when a shard of it is committed. */
  const after = (node: Node, task: Task): void => {
    if (task.items > 0) return work(node, task)
    if (node.where.how !== "held") return release(node, task)
    task.idle = true
    task.since = now
    node.idle.add(task)
    const since = now
    at(now + Math.max(overheads.heldSeconds, 2 * pollSeconds), () => {
      if (task.idle && task.since === since) release(node, task)
    })
  }

  const commit = (node: Node, outcome: Outcome): void => {
    const outcomes = committed.get(node)
    if (outcomes === undefined) committed.set(node, [outcome])
    else outcomes.push(outcome)
    if (roomOf(node.consumers) > 0) look()
  }

  /** A whole task is gone, with what it was at and what it still had. */
  const lose = (node: Node, task: Task, begun: number): void => {
    note(node, task, "lost", begun, now)
    node.tally.losses += task.workers
    const { items } = task
    task.items = 0
    release(node, task)
    giveBack(node, items)
  }

  /** Of workers that are simulated as one, some are gone: half-way through their shard, on the mean. */
  const loseSome = (node: Node, task: Task, lost: number, items: number, took: number): void => {
    note(node, task, "lost", now - took / 2, now, lost)
    const rest = Math.floor((task.items * lost) / task.workers)
    node.tally.losses += lost
    node.running -= lost
    SimulatedPool.take(node.pool!, node.demand, -lost)
    task.workers -= lost
    task.items -= rest
    giveBack(node, items + rest)
    startWaiting(node.pool!)
  }

  /** A `collect`, or a call of a gang: goes on from what it has kept when it is lost. */
  const workWhole = (node: Node, task: Task): void => {
    if (task.left === undefined) {
      const { calls, failed } = callsOf(node, node.collects ? 1 : task.items)
      const items = node.collects ? task.items : calls
      const { seconds, work: worked } = Duration.span(node.duration, items, node.lanes, 1, node.dice)
      const whole = seconds + (node.collects ? node.callSeconds * calls : 0)
      task.left = transferred(node, task.items, whole + (isSlurm(node) ? overheads.commitSeconds : 0))
      task.failed = node.collects ? failed * task.items : failed
      node.tally.workSeconds += worked + (node.collects ? node.callSeconds * calls : 0)
    }
    const begun = now
    const { left } = task
    const survives = node.lossRate === 0 ? Number.POSITIVE_INFINITY : node.dice.exponential() / node.lossRate
    if (survives < left) {
      return at(now + survives, () => {
        const every = node.profile.checkpointSeconds
        const kept = every === undefined ? 0 : Math.floor(survives / every) * every
        note(node, task, "busy", begun, begun + kept)
        note(node, task, "lost", begun + kept, now)
        node.tally.losses++
        task.left = left - kept
        if (node.tally.losses > endless && kept === 0) return giveUp(node, left)
        node.running -= 1
        SimulatedPool.take(node.pool!, node.demand, -1)
        startWaiting(node.pool!)
        at(now + overheads.lostSeconds, () => submit(node, task))
      })
    }
    at(now + left, () => {
      note(node, task, "busy", begun, now)
      node.tally.shards++
      const { items } = task
      task.items = 0
      commit(node, outcomeOf(node, items, task.failed ?? 0))
      release(node, task)
    })
  }

  const giveUp = (node: Node, seconds: number): void => {
    problem ??= {
      _tag: "Endless",
      node: node.placed.id,
      problem: `its workers are lost every ${(1 / node.lossRate / 3600).toFixed(1)} hours, and what they are at takes ${(seconds / 3600).toFixed(1)}; say how often it keeps its state (checkpointSeconds)`,
    }
  }

  /** Seconds until items are through the store's bandwidth, too. */
  const transferred = ({ profile }: Node, items: number, seconds: number): number => {
    if (storeBytesPerSecond === undefined) return seconds
    const bytes = items * (profile.bytesIn + profile.bytesOut)
    storeFree = Math.max(storeFree, now) + bytes / storeBytesPerSecond
    return Math.max(seconds, storeFree - now)
  }

  /** Calls that items take, with those that are made again, and how many items fail in the end. */
  const callsOf = ({ dice, placed, profile, tally }: Node, items: number) => {
    const poisoned = dice.binomial(items, profile.poison)
    let failing = items - poisoned
    let calls = items
    for (let attempt = 0; attempt <= placed.operator.retries && failing > 0; attempt++) {
      if (attempt > 0) {
        calls += failing
        tally.retries += failing
      }
      failing = dice.binomial(failing, profile.failing)
    }
    return { calls, failed: poisoned + failing }
  }

  const outcomeOf = ({ dice, profile }: Node, items: number, failed: number): Outcome => {
    const kept = dice.binomial(items - failed, profile.keep)
    const spread = profile.outSpread === 0 ? 0 : Math.sqrt(kept) * profile.out * profile.outSpread
    const given = kept === 0 ? 0 : dice.round(dice.lognormal(kept * profile.out, spread))
    const emitted = items > failed ? profile.emits : 0
    return { items, kept, failed, out: emitted ?? given }
  }

  const feed = (source: Source): void => {
    if (source.feeding || source.here === 0) return
    const room = Math.min(2 ** 20, roomOf(source.consumers))
    if (room < 1 || room < Math.min(source.here, overheads.queueItems / 8)) return
    const items = Math.min(source.here, Math.max(1, Math.floor(room)))
    source.here -= items
    source.feeding = true
    drive(items * overheads.driverSecondsPerItem, () => {
      source.feeding = false
      for (const node of source.consumers) wait(node, items)
      finish = now
      dispatch()
    })
  }

  /** The next of what arrives at a rate; of very many, some at a time. */
  const arrive = (source: Source): void => {
    if (typeof source.arrivals === "number" || source.coming === 0) return
    const { count, perSecond, spread } = source.arrivals
    const items = Math.min(source.coming, Math.ceil(count / 400_000))
    const mean = items / perSecond
    const gap =
      spread === "regular"
        ? mean
        : items === 1
          ? mean * source.dice.exponential()
          : source.dice.lognormal(mean, mean / Math.sqrt(items))
    at(now + gap, () => {
      source.coming -= items
      source.here += items
      arrive(source)
      dispatch()
    })
  }

  for (const source of sources) arrive(source)
  dispatch()
  for (let next = heap.pop(); next !== undefined; next = problem === undefined ? heap.pop() : undefined) {
    now = next.time
    events++
    next.value()
  }
  if (problem !== undefined) return { _tag: "Failed", problem }
  const stuck = nodes.filter(({ ended }) => !ended).map(({ placed }) => placed.id)
  if (stuck.length > 0)
    throw new Error(
      `the simulation of graph ${graph.name} stopped before ${stuck.join(", ")} ended: a defect`,
    )
  return {
    _tag: "Done",
    simulated: Summary.make({
      graph,
      profile,
      seed,
      seconds: finish,
      counts: prepared.counts,
      nodes,
      pools: [...pools.values()].filter((pool) => nodes.some((node) => node.pool === pool)),
      driverSeconds,
      events,
    }),
  }
}
