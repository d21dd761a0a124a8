/** Why a request is made in a pool, and in this form: sentences for a person. */
import * as Result from "effect/Result"

import * as Offers from "./offers.ts"
import * as Packing from "./packing.ts"
import * as Descriptions from "./descriptions.ts"

/** Why so many ranks, or calls in a worker. */
export const ofForm = (taken: Offers.Taken): ReadonlyArray<string> => [...ofSharing(taken), ...ofTask(taken)]

const ofTask = ({ fit, pool }: Offers.Taken): ReadonlyArray<string> =>
  pool._tag === "Slurm" && pool.task === "node"
    ? [`${Descriptions.counted(fit.perTask, "worker")} to a task`]
    : []

const ofSharing = ({
  fit,
  name,
  pool,
  request: { concurrency, perGpu, resources },
}: Offers.Taken): ReadonlyArray<string> => {
  const { gpu } = resources
  if (perGpu !== undefined)
    return [
      `${Descriptions.counted(perGpu, "call")} on one ${gpu === undefined ? "worker" : "GPU"}, as the pools file sets`,
    ]
  if (gpu === undefined)
    return fit.perWorker > 1
      ? [
          `asks for ${resources.cores} cores: ${fit.perWorker} calls share ${Descriptions.counted(fit.resources.cores, "core")}`,
        ]
      : []
  const asks = `asks for ${Descriptions.gpus(resources)}`
  if (gpu.memoryGiB === undefined) return [`${asks}, of unknown memory: not shared`]
  const has = `${asks}: ${name} has ${pool.gpus?.memoryGiB ?? 0} GiB each`
  if (fit.room === 1) return [`${has}, so that none is shared`]
  if (fit.perWorker === fit.room) return [`${has}, so ${fit.perWorker} share one`]
  const shared = fit.perWorker === 1 ? "none is shared" : `${fit.perWorker} share one`
  const bound =
    concurrency === undefined
      ? `, for its nodes hold no more calls (${pool.cores} cores, ${pool.memoryGiB} GiB)`
      : ""
  return [`${has}, room for ${fit.room}; ${shared}${bound}`]
}

/** Why ranks, where they are more than were asked for, and where they are. */
export const ofGang = (
  { fit, name, pool, request }: Offers.Taken,
  asked: Packing.Request,
): ReadonlyArray<string> => {
  const nodes = Math.ceil(fit.ranks / fit.perNode)
  const together = `${Descriptions.counted(fit.ranks, "rank")} begin together, on ${Descriptions.counted(nodes, "node")} of ${name}`
  return request === asked
    ? [together]
    : [
        `asks for ${Descriptions.gpus(asked.resources)}, of which a node has ${pool.gpus?.count ?? 0}: ${together}`,
      ]
}

/** Why this pool and not another: of the ranked ones the first, and of all that were asked. */
export const ofChoice = (
  ranked: ReadonlyArray<Offers.Taken>,
  offers: ReadonlyArray<Offers.Offer>,
  request: Packing.Request,
): ReadonlyArray<string> => {
  const [best, ...others] = ranked
  if (best === undefined) return []
  const { name } = best
  const isGpuWork = Offers.isGpuWork(request)
  const isKept = (other: Offers.Taken) => !isGpuWork && Offers.hasGpus(other) && !Offers.hasGpus(best)
  const kept = others.filter(isKept)
  const rivals = others.filter((other) => !isKept(other))
  return [
    ...(kept.length > 0 ? [`needs no GPU: ${listed(kept)} left to nodes that do`] : []),
    ...(!isGpuWork && Offers.hasGpus(best) ? ["needs no GPU, but no pool without GPUs holds it"] : []),
    ...(rivals.length > 0 ? [comparison(best, rivals)] : []),
    ...(others.length === 0 && offers.length > 1 ? [`only ${name} holds it`] : []),
    ...(Offers.isPreemptible(best) ? [`${name} may be preempted: its calls are made again`] : []),
    ...offers.flatMap((offer) =>
      Result.isFailure(offer) && offer.failure.preempted
        ? [`${offer.failure.name} ${offer.failure.why}`]
        : [],
    ),
  ]
}

/** What decided between pools that all may take it. */
const comparison = (best: Offers.Taken, rivals: ReadonlyArray<Offers.Taken>): string => {
  const second = rivals[0]!
  if (best.fit.price < second.fit.price) {
    const prices = rivals.map(({ fit, name }) => `${name} ${Descriptions.price(fit.price)}`)
    return `${best.name} costs ${Descriptions.price(best.fit.price)} per call-hour, ${prices.join(", ")}`
  }
  if (Offers.isPreemptible(second) && !Offers.isPreemptible(best))
    return `${best.name} costs no more than ${second.name}, which may be preempted`
  const [here, there] = [best, second].map(({ fit }) => Packing.calls(fit))
  return `of equal price; ${best.name} holds ${Descriptions.counted(here!, "call")} at once, ${second.name} ${Descriptions.count(there!)}`
}

/** What leaves some of a pool unused. */
export const ofBounds = ({
  fit,
  name,
  pool,
  request: { concurrency },
}: Offers.Taken): ReadonlyArray<string> => [
  ...(pool._tag === "Slurm" && pool.maxJobs === fit.workers / fit.perTask && fit.ranks === 1
    ? [`${name} takes ${Descriptions.counted(pool.maxJobs, "task")} of it at once`]
    : []),
  ...(concurrency === undefined ? [] : [`allows ${Descriptions.counted(concurrency, "call")} at once`]),
]

const listed = (pools: ReadonlyArray<Offers.Named>): string =>
  `${pools.map(({ name }) => name).join(", ")} ${pools.length === 1 ? "is" : "are"}`
