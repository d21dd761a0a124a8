/** Tests that need Slurm: without it they are skipped, and say so in one line. */
import { describe } from "@effect/vitest"

import { unavailable } from "../../../test/cluster/Cluster.ts"

export const unlessSlurm = (name: string, tests: () => void): void => {
  if (unavailable === undefined) describe(name, tests)
  else describe.skip(`${name} (skipped: ${unavailable})`, tests)
}
