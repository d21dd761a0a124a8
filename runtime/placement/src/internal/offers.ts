/** What the pools offer to one request: in which of them it fits, which of these is best, and which lacks least. */
import * as Result from "effect/Result"

import * as Pool from "../Pool.ts"
import * as Packing from "./packing.ts"
import * as Words from "./words.ts"

export interface Named {
  readonly name: string
  readonly pool: Pool.Pool
}

/** A pool that takes a request. */
export interface Taken extends Named {
  readonly request: Packing.Request
  readonly fit: Packing.Fit
}

/** A pool that does not, and what is said of it: `falls short: 1 GPU of 0`. */
export interface Refused extends Named {
  readonly why: string
  readonly lacks: number
}

export type Offer = Result.Result<Taken, Refused>

/** Whether calls that a pool of others takes away are made again. */
export interface Wanted {
  readonly request: Packing.Request
  readonly retryable: boolean
  /** Chosen by a person, who may also choose what may be taken away. */
  readonly byHand: boolean
}

const offer = ({ name, pool }: Named, request: Packing.Request, { byHand, retryable }: Wanted): Offer => {
  const fit = Packing.fit(name, pool, request)
  if (Result.isFailure(fit)) {
    const why = `falls short: ${fit.failure.join(", ")}`
    return Result.fail({ name, pool, why, lacks: fit.failure.length })
  }
  const takenAway = pool._tag === "Slurm" && pool.preemptible && !byHand
  if (takenAway && (request.ranks > 1 || !retryable))
    return Result.fail({
      name,
      pool,
      why: `may be preempted: ${request.ranks > 1 ? "that ends all of a gang" : "it is not retried"}`,
      lacks: 1,
    })
  return Result.succeed({ name, pool, request, fit: fit.success })
}

/**
 * What each pool says. A request of more GPUs than any node has is offered again as a gang, with a rank for each: in
 * pools that hold it in one node it would be slower.
 */
export const all = (pools: ReadonlyArray<Named>, wanted: Wanted): ReadonlyArray<Offer> => {
  const whole = pools.map((named) => offer(named, wanted.request, wanted))
  return whole.some(Result.isSuccess)
    ? whole
    : pools.map((named) => offer(named, Packing.split(wanted.request, named.pool), wanted))
}

const hasGpus = ({ pool }: Named): boolean => pool.gpus !== undefined
const isPreemptible = ({ pool }: Named): boolean => pool._tag === "Slurm" && pool.preemptible
const isGpuWork = ({ resources }: Packing.Request): boolean => resources.gpu !== undefined
/** In the order of the names. */
export const byName = (a: Named, b: Named): number => (a.name < b.name ? -1 : a.name > b.name ? 1 : 0)

/** The pools that take a request, the best first. */
export const ranked = (offers: ReadonlyArray<Offer>, request: Packing.Request): ReadonlyArray<Taken> =>
  offers
    .flatMap((offer) => (Result.isSuccess(offer) ? [offer.success] : []))
    .sort(
      (a, b) =>
        // A GPU is too dear to wait for work on cores: an accident of prices must not decide this.
        (isGpuWork(request) ? 0 : Number(hasGpus(a)) - Number(hasGpus(b))) ||
        a.fit.price - b.fit.price ||
        Number(isPreemptible(a)) - Number(isPreemptible(b)) ||
        Packing.calls(b.fit) - Packing.calls(a.fit) ||
        byName(a, b),
    )

/** The refusal of the pool that lacks least: for GPU work one with GPUs; then that with the largest nodes. */
export const nearest = (offers: ReadonlyArray<Offer>, request: Packing.Request): Refused | undefined =>
  offers
    .flatMap((offer) => (Result.isFailure(offer) ? [offer.failure] : []))
    .sort(
      (a, b) =>
        (isGpuWork(request) ? Number(hasGpus(b)) - Number(hasGpus(a)) : 0) ||
        a.lacks - b.lacks ||
        (b.pool.gpus?.count ?? 0) * Pool.nodes(b.pool) - (a.pool.gpus?.count ?? 0) * Pool.nodes(a.pool) ||
        b.pool.cores - a.pool.cores ||
        b.pool.memoryGiB - a.pool.memoryGiB ||
        byName(a, b),
    )[0]

/** Why a request is made in this form in this pool. */
export const formReasons = (
  { fit, name, pool, request }: Taken,
  perGpuBy: string | undefined,
): ReadonlyArray<string> => {
  const { gpu } = request.resources
  if (fit.ranks > 1) {
    const nodes = Math.ceil(fit.ranks / fit.perNode)
    return [
      `${Words.counted(fit.ranks, "rank")} begin together, on ${Words.counted(nodes, "node")} of ${name}`,
    ]
  }
  if (perGpuBy !== undefined)
    return [
      `${Words.counted(fit.perWorker, "call")} share one ${gpu === undefined ? "worker" : "GPU"}: ${perGpuBy}`,
    ]
  if (gpu === undefined)
    return fit.perWorker > 1
      ? [
          `asks for ${request.resources.cores} cores: ${fit.perWorker} calls share ${Words.counted(fit.resources.cores, "core")}`,
        ]
      : []
  const asks = `asks for ${Words.gpus(request.resources)}`
  if (gpu.memoryGiB === undefined) return [`${asks}, of unknown memory: not shared`]
  const has = `${asks}: ${name} has ${pool.gpus?.memoryGiB ?? 0} GiB each`
  if (fit.room === 1) return [`${has}, so that none is shared`]
  if (fit.perWorker === fit.room) return [`${has}, so ${fit.perWorker} share one`]
  return [
    `${has}, room for ${fit.room}; ${fit.perWorker === 1 ? "none is shared" : `${fit.perWorker} share one`}, for its nodes hold no more calls (${pool.cores} cores, ${pool.memoryGiB} GiB)`,
  ]
}

/** Why this pool and not another: the first of the ranked ones, and all that were asked. */
export const choiceReasons = (
  ranked: ReadonlyArray<Taken>,
  offers: ReadonlyArray<Offer>,
  request: Packing.Request,
): ReadonlyArray<string> => {
  const [best, ...others] = ranked
  if (best === undefined) return []
  const { name } = best
  const told: Array<string> = []
  const isKept = (other: Taken) => !isGpuWork(request) && hasGpus(other) && !hasGpus(best)
  const kept = others.filter(isKept)
  if (kept.length > 0) told.push(`needs no GPU: ${listed(kept)} kept for what does`)
  else if (!isGpuWork(request) && hasGpus(best)) told.push(`needs no GPU, but no pool without GPUs holds it`)
  const rivals = others.filter((other) => !isKept(other))
  const [second] = rivals
  if (second === undefined) {
    if (offers.length > 1 && kept.length === 0) told.push(`only ${name} holds it`)
  } else if (best.fit.price < second.fit.price || (hasGpus(second) && !isGpuWork(request)))
    told.push(
      `${name} costs ${Words.price(best.fit.price)} per call-hour, ${rivals.map((rival) => `${rival.name} ${Words.price(rival.fit.price)}`).join(", ")}`,
    )
  else if (isPreemptible(second) && !isPreemptible(best))
    told.push(`${name} costs no more than ${second.name}, which may be preempted`)
  else
    told.push(
      `of equal price; ${name} holds ${Words.counted(Packing.calls(best.fit), "call")} at once, ${second.name} ${Words.count(Packing.calls(second.fit))}`,
    )
  if (isPreemptible(best)) told.push(`${name} may be preempted: its calls are made again`)
  for (const offer of offers)
    if (
      Result.isFailure(offer) &&
      isPreemptible(offer.failure) &&
      offer.failure.why.startsWith("may be preempted")
    )
      told.push(`${offer.failure.name} ${offer.failure.why}`)
  return told
}

const listed = (pools: ReadonlyArray<Named>): string =>
  `${pools.map(({ name }) => name).join(", ")} ${pools.length === 1 ? "is" : "are"}`
