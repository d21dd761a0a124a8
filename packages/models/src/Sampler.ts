/**
 * The samplers behind one interface: from noise to a sample, n calls of a denoiser.
 *
 *     const plan = Sampler.plan("unipc", NoiseSchedule.flow({ shift: 3 }), 50)
 *     let state = Sampler.start(plan, Gaussian.normals(key, length))
 *     while (!Sampler.isDone(state))
 *       state = Sampler.step(state, denoise(Sampler.modelInput(state), Sampler.timestep(state)))
 *
 * | name | | order | noise | schedules |
 * |---|---|---|---|---|
 * | `ddpm` | ancestral | 1 | each step | discrete, flow |
 * | `ddim` | | 1 | with eta | discrete, flow |
 * | `euler` | k-diffusion | 1 | | discrete |
 * | `flow-euler` | | 1 | | flow |
 * | `dpm-solver` | DPM-Solver++ 2M | 1, 2 | | discrete, flow |
 * | `unipc` | predictor and corrector | 1, 2 (corrected: 2, 3) | | discrete, flow |
 *
 * States are immutable and, by `State`, JSON: a run can be saved after any step and goes on to the same bits.
 */
import * as Schema from "effect/Schema"

import * as Ddim from "./Ddim.ts"
import * as Ddpm from "./Ddpm.ts"
import * as DpmSolver from "./DpmSolver.ts"
import * as Euler from "./Euler.ts"
import * as FlowEuler from "./FlowEuler.ts"
import * as Option from "./internal/option.ts"
import type { NoiseSchedule } from "./NoiseSchedule.ts"
import * as SamplerState from "./SamplerState.ts"
import { RunFinished } from "./SamplingError.ts"
import * as UniPc from "./UniPc.ts"

export interface OptionsOf {
  readonly ddpm: Ddpm.Options
  readonly ddim: Ddim.Options
  readonly euler: Euler.Options
  readonly "flow-euler": FlowEuler.Options
  readonly "dpm-solver": DpmSolver.Options
  readonly unipc: UniPc.Options
}
export type Name = keyof OptionsOf

export const Plan = Schema.Union([
  Ddpm.Plan,
  Ddim.Plan,
  Euler.Plan,
  FlowEuler.Plan,
  DpmSolver.Plan,
  UniPc.Plan,
])
export type Plan = typeof Plan.Type
export type PlanOf<N extends Name> = Extract<Plan, { readonly sampler: N }>

/** The schema of states: decode and encode them with `Schema`'s functions. */
export const State = SamplerState.codec(Plan)
export type State = SamplerState.State<Plan>

const planners: {
  readonly [N in Name]: (schedule: NoiseSchedule, steps: number, options: OptionsOf[N]) => PlanOf<N>
} = {
  ddpm: Ddpm.plan,
  ddim: Ddim.plan,
  euler: Euler.plan,
  "flow-euler": FlowEuler.plan,
  "dpm-solver": DpmSolver.plan,
  unipc: UniPc.plan,
}

/** ddpm needs a key; others need no options. */
type Rest<N extends Name> = N extends "ddpm" ? [options: OptionsOf[N]] : [options?: OptionsOf[N]]

/**
 * The plan of a run.
 *
 * @throws OptionInvalid
 */
export const plan = <N extends Name>(
  name: N,
  schedule: NoiseSchedule,
  steps: number,
  ...[options]: Rest<N>
): PlanOf<N> => {
  const planner = planners[name]
  if (planner === undefined)
    throw Option.invalid("Sampler.plan", "name", name, `one of ${Object.keys(planners).join(", ")}`)
  return planner(schedule, steps, (options ?? {}) as OptionsOf[N])
}

/** The first state, from standard normal noise of the sample's length. */
export const start = (plan: Plan, noise: Float32Array): State => SamplerState.start(plan, noise)

/** Whether every step is done. */
export const isDone = ({ index, plan }: State): boolean => index >= plan.timesteps.length

/**
 * What the model is to be told.
 *
 * @throws RunFinished
 */
export const timestep = ({ index, plan }: State): number => {
  const t = plan.timesteps[index]
  if (t === undefined) throw new RunFinished({ sampler: plan.sampler, steps: plan.timesteps.length })
  return t
}

const has = <N extends Name>(state: State, name: N): state is SamplerState.State<PlanOf<N>> =>
  state.plan.sampler === name

/** What the model is to be given: the sample, scaled for euler. */
export const modelInput = (state: State): Float32Array =>
  has(state, "euler") ? Euler.modelInput(state) : state.sample

/**
 * One step. `noise` takes the place of what the plan's key gives, in the samplers that draw.
 *
 * @throws RunFinished LengthMismatch
 */
export const step = (state: State, output: Float32Array, noise?: Float32Array): State => {
  if (has(state, "ddpm")) return Ddpm.step(state, output, noise)
  if (has(state, "ddim")) return Ddim.step(state, output, noise)
  if (has(state, "euler")) return Euler.step(state, output)
  if (has(state, "flow-euler")) return FlowEuler.step(state, output)
  if (has(state, "dpm-solver")) return DpmSolver.step(state, output)
  return UniPc.step(state as SamplerState.State<UniPc.Plan>, output)
}

/** A whole run of a model that answers at once. */
export const run = (
  plan: Plan,
  noise: Float32Array,
  model: (input: Float32Array, timestep: number) => Float32Array,
): Float32Array => {
  let state = start(plan, noise)
  while (!isDone(state)) state = step(state, model(modelInput(state), timestep(state)))
  return state.sample
}
