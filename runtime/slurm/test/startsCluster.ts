/** Brings up a cluster with a job that leaves its session, says where, and waits to be killed. */
import * as Effect from "effect/Effect"

import * as Cluster from "../../../test/cluster/Cluster.ts"
import { until } from "./harness.ts"

const program = Effect.gen(function* () {
  const { folder, processes, run } = yield* Cluster.Cluster
  yield* run("sbatch", "--output=/dev/null", "--wrap", "setsid sleep 1234 & wait")
  yield* until(processes, (found) => found.some(({ command }) => command === "sleep 1234"))
  console.log(folder)
  yield* Effect.sleep("1 hour")
})

await Effect.runPromise(program.pipe(Effect.provide(Cluster.layer({ gpuNodes: 0, cpuNodes: 1 }))))
