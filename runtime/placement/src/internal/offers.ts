/** What the pools offer to one request: in which of them it fits, which of these is best, and which lacks least. */
import * as Result from "effect/Result"

import * as Pool from "../Pool.ts"
import * as Packing from "./packing.ts"

export interface Named {
  readonly name: string
  readonly pool: Pool.Pool
}

/** A pool that takes a request. */
export interface Taken extends Named {
  readonly request: Packing.Request
  readonly fit: Packing.Fit
}

/** A pool that does not, and its description: `falls short: 1 GPU of 0`. */
export interface Refused extends Named {
  readonly why: string
  readonly lacks: number
  /** Whether it would hold the request, and only must not because others may take it away. */
  readonly preempted: boolean
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
    return Result.fail({ name, pool, why, lacks: fit.failure.length, preempted: false })
  }
  const takenAway = pool._tag === "Slurm" && pool.preemptible && !byHand
  if (takenAway && (request.ranks > 1 || !retryable))
    return Result.fail({
      name,
      pool,
      why: `may be preempted: ${request.ranks > 1 ? "that ends all of a gang" : "it is not retried"}`,
      lacks: 1,
      preempted: true,
    })
  return Result.succeed({ name, pool, request, fit: fit.success })
}

/**
 * What each pool offers. A request of more GPUs than any node has is offered again as a gang, with a rank for each: in
 * pools that hold it in one node it would be slower.
 */
export const all = (pools: ReadonlyArray<Named>, wanted: Wanted): ReadonlyArray<Offer> => {
  const whole = pools.map((named) => offer(named, wanted.request, wanted))
  return whole.some(Result.isSuccess)
    ? whole
    : pools.map((named) => offer(named, Packing.split(wanted.request, named.pool), wanted))
}

export const hasGpus = ({ pool }: Named): boolean => pool.gpus !== undefined
export const isPreemptible = ({ pool }: Named): boolean => pool._tag === "Slurm" && pool.preemptible
export const isGpuWork = ({ resources }: Packing.Request): boolean => resources.gpu !== undefined
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
