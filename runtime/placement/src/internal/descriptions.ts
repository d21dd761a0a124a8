/** Requests, pools and prices as people read them. */
import type { Resources } from "@reelgraph/core"

import type * as Pool from "../Pool.ts"

/** `12,345` */
export const count = (value: number): string => String(value).replaceAll(/\B(?=(\d{3})+$)/g, ",")

/** `1 core`, `6,000 ranks` */
export const counted = (value: number, singular: string): string =>
  `${count(value)} ${singular}${value === 1 ? "" : "s"}`

const gpuWords = ({ count, memoryGiB, model }: NonNullable<Resources.Resources["gpu"]>): string =>
  [
    counted(count, "GPU"),
    ...(model === undefined ? [] : [`of model ${model}`]),
    ...(memoryGiB === undefined ? [] : [`with ${memoryGiB} GiB`]),
  ].join(" ")

/** `12 cores, 64 GiB, 1 GPU of model h100 with 20 GiB` */
export const request = ({ cores, gpu, memoryGiB }: Resources.Resources): string =>
  [
    counted(cores, "core"),
    ...(memoryGiB === undefined ? [] : [`${memoryGiB} GiB`]),
    ...(gpu === undefined ? [] : [gpuWords(gpu)]),
  ].join(", ")

/** The GPUs alone: `1 GPU with 20 GiB` */
export const gpus = ({ gpu }: Resources.Resources): string => (gpu === undefined ? "no GPU" : gpuWords(gpu))

/** `h100 (partition h100)`, `here (this machine)` */
export const pool = (name: string, given: Pool.Pool): string =>
  `${name} (${given._tag === "Slurm" ? `partition ${given.partition}` : "this machine"})`

/** `0`, `0.031`, `1.25`, `15,000` */
export const price = (value: number): string =>
  value === 0
    ? "0"
    : value >= 100
      ? count(Math.round(value))
      : value >= 0.1
        ? String(Number(value.toFixed(2)))
        : String(Number(value.toPrecision(2)))
