/** A simulated run for people: when it is done, what it costs, what it waits for, and which pools would balance it. */
import type { Balance, Bottleneck, Score, Simulation } from "@reelgraph/placement"

import * as Format from "./Format.ts"

export interface SimulationReport {
  readonly simulated: Simulation.Simulated
  /** What the prices are in; empty: nobody said. */
  readonly currency: string
  /** Of several seeds, when there was time for them. */
  readonly luck?: { readonly runs: number; readonly leastSeconds: number; readonly mostSeconds: number }
  readonly bottlenecks: ReadonlyArray<Bottleneck.Bottleneck>
  readonly balanced?: Omit<Balance.Balanced, "placement">
  /** Calls of the store that numbers are of, by node. */
  readonly measured: { readonly [node: string]: number }
}

/** `3.0 s`, `5m 20s`, `7h 03m`, `35d 04h` */
export const time = (seconds: number): string => {
  if (seconds < 172_800) return Format.duration(seconds * 1000)
  const hours = Math.round(seconds / 3600)
  return `${Format.count(Math.floor(hours / 24))}d ${String(hours % 24).padStart(2, "0")}h`
}

/** `0.4`, `12.5`, `12,345` */
const amount = (value: number): string =>
  value === 0 ? "0" : value < 100 ? value.toFixed(1) : Format.count(Math.round(value))

const percent = (share: number): string => `${(share * 100).toFixed(1)} %`

const bars = " ▁▂▃▄▅▆▇█"

/** A share over time, a character for each part of it. */
export const bar = (shares: ReadonlyArray<number>): string =>
  shares
    .map((share) => (share <= 0.005 ? "·" : bars[Math.max(1, Math.min(8, Math.round(share * 8)))]!))
    .join("")

const counts = (of: { readonly [name: string]: number }): string =>
  Object.entries(of)
    .map(([name, count]) => `${name} ${Format.count(count)}`)
    .join(", ")

/** What a lever is, as part of a sentence. */
const named = (lever: Bottleneck.Lever): string => {
  switch (lever._tag) {
    case "Pool":
      return `a tenth more nodes in ${lever.pool}`
    case "Stage":
      return `${lever.node} a tenth faster`
    case "Driver":
      return "a driver a tenth faster"
    case "Store":
      return "a store of a tenth more bandwidth"
    case "Slurm":
      return "Slurm starting a tenth more tasks a second"
    case "Queues":
      return "a tenth more items that may wait"
  }
}

const bottleneckLines = ({ bottlenecks }: SimulationReport): ReadonlyArray<string> => {
  const [first, ...rest] = bottlenecks
  if (first === undefined)
    return ["waits for    nothing in particular: no single change of a tenth moves its end"]
  const told = rest.slice(0, 4).map(({ gain, lever }) => `${named(lever)} ${percent(gain)}`)
  return [
    `waits for    ${named(first.lever)} would end it ${percent(first.gain)} sooner`,
    ...(told.length === 0 ? [] : [`             ${told.join(", ")}`]),
  ]
}

const balancedLines = ({ balanced, currency, simulated }: SimulationReport): ReadonlyArray<string> => {
  if (balanced === undefined || Object.keys(balanced.nodes).length === 0) return []
  const before = new Map(simulated.pools.map(({ nodes, pool }) => [pool, nodes]))
  const sizes = Object.entries(balanced.nodes).map(
    ([pool, nodes]) => `${Format.count(nodes)} nodes in ${pool} (now ${Format.count(before.get(pool) ?? 0)})`,
  )
  const then = `${time(balanced.simulated.seconds)}, ${money(balanced.simulated.wholeCost, currency)} for all of them all the time`
  return balanced.reached
    ? [`balanced     ${sizes.join(", ")}: ${then}`]
    : [`balanced     no number of nodes reaches that time; ${sizes.join(", ")}: ${then}`]
}

const money = (value: number, currency: string): string =>
  `${value < 100 ? value.toFixed(2) : Format.count(Math.round(value))}${currency === "" ? "" : ` ${currency}`}`

const poolLines = ({ simulated: { pools } }: SimulationReport): ReadonlyArray<string> =>
  Format.table(
    [
      "pool",
      "nodes",
      "GPUs",
      "of",
      "busy",
      "starting",
      "lost",
      "idle",
      "GPU-hours",
      "node-hours",
      "cost",
      "busy over time",
    ],
    pools.map(({ busyOverTime, cost, gpuHours, gpus, nodeHours, nodes, of, pool, share }) => [
      pool,
      Format.count(nodes),
      Format.count(gpus),
      of,
      percent(share.busy),
      percent(share.starting),
      percent(share.lost),
      percent(share.idle),
      amount(gpuHours),
      amount(nodeHours),
      amount(cost),
      bar(busyOverTime),
    ]),
    [false, true, true, false, true, true, true, true, true, true, true],
  )

const howText = ({ how, workers }: Simulation.SimulatedNode): string =>
  how === "driver" ? "driver" : `${how} x ${Format.count(workers)}`

const nodeLines = ({ simulated: { nodes } }: SimulationReport): ReadonlyArray<string> => {
  const someLost = nodes.some(({ losses }) => losses > 0)
  return Format.table(
    [
      "node",
      "pool",
      "workers",
      "in",
      "dropped",
      "failed",
      "out",
      "work, h",
      "GPU-hours",
      "cost",
      ...(someLost ? ["lost"] : []),
      "from",
      "to",
      "waiting",
    ],
    nodes.map((node) => [
      node.node,
      node.pool,
      howText(node),
      Format.count(node.in),
      Format.count(node.dropped),
      Format.count(node.failed),
      Format.count(node.out),
      amount(node.workHours),
      amount(node.gpuHours),
      amount(node.cost),
      ...(someLost ? [Format.count(node.losses)] : []),
      node.firstSeconds === undefined ? "" : time(node.firstSeconds),
      node.lastSeconds === undefined ? "" : time(node.lastSeconds),
      Format.count(Math.round(node.waiting.mean)),
    ]),
    [false, false, false, ...Array.from({ length: 11 }, () => true)],
  )
}

/** The whole report. */
export const lines = (report: SimulationReport): ReadonlyArray<string> => {
  const { currency, luck, measured, simulated } = report
  const {
    cost,
    driverShare,
    gpuHours,
    graph,
    inputs,
    outputs,
    seconds,
    store,
    version,
    warnings,
    wholeCost,
  } = simulated
  const between =
    luck === undefined || luck.runs < 2
      ? ""
      : ` (${time(luck.leastSeconds)} to ${time(luck.mostSeconds)} under ${luck.runs} seeds)`
  const bandwidth = store.share === undefined ? "" : `, ${percent(store.share)} of its bandwidth`
  const grouped = simulated.nodes.some(({ group }) => group > 1)
  return [
    `${graph}@${version}, simulated: ${time(seconds)}${between}`,
    `inputs       ${counts(inputs)}`,
    `outputs      ${counts(outputs)}`,
    `cost         ${money(cost, currency)} of what workers take, ${money(wholeCost, currency)} for all nodes all the time`,
    ...(gpuHours === 0 ? [] : [`GPU-hours    ${amount(gpuHours)}`]),
    `store        ${Format.bytes(store.bytesRead)} read, ${Format.bytes(store.bytesWritten)} written${bandwidth}`,
    `driver       works for ${percent(driverShare)} of the time`,
    ...bottleneckLines(report),
    ...balancedLines(report),
    "",
    ...poolLines(report),
    "",
    ...nodeLines(report),
    ...(grouped ? ["", "Many workers were simulated as one; the ends of stages are means."] : []),
    ...(Object.keys(measured).length === 0 ? [] : ["", `measured in this store, calls: ${counts(measured)}`]),
    ...warnings.map((warning) => `warning: ${Format.line(warning)}`),
  ]
}

const ratio = (value: number): string => (Number.isFinite(value) ? value.toFixed(2) : "-")

/** A score for people: what was foretold, what was, and their ratio. */
export const scoreLines = (score: Score.Score): ReadonlyArray<string> => [
  `foretold     ${time(score.seconds.foretold)}; took ${time(score.seconds.actual)}: ${ratio(score.seconds.ratio)} times`,
  `work         ${time(score.work.foretold)}; was ${time(score.work.actual)}: ${ratio(score.work.ratio)} times`,
  "",
  ...Format.table(
    ["node", "in", "foretold", "out", "foretold", "work", "foretold", "ratio", "cached"],
    score.nodes.map(({ cached, in: taken, node, out, work }) => [
      node,
      Format.count(taken.actual),
      Format.count(taken.foretold),
      Format.count(out.actual),
      Format.count(out.foretold),
      time(work.actual),
      time(work.foretold),
      ratio(work.ratio),
      Format.count(cached),
    ]),
    [false, true, true, true, true, true, true, true, true],
  ),
  ...(score.unmatched.length === 0 ? [] : [`not compared: ${score.unmatched.join(", ")}`]),
]
