/**
 * What becomes of results that were cached when an operator's code was another, under the same name and version.
 *
 * - `auto`: of a project's own operators they are made again; of released packages they are reused, and the report
 *   warns: there a version announces what changes results.
 * - `recompute`: they are made again.
 * - `reuse`: they are reused, and the report warns.
 */
import type { Fingerprints } from "@reelgraph/call"
import * as Schema from "effect/Schema"

export const ChangedCode = Schema.Literals(["auto", "recompute", "reuse"])
export type ChangedCode = typeof ChangedCode.Type

/** Whether results of other code may be used in the place of an operator's own. */
export const reuses = (policy: ChangedCode, { released }: Fingerprints.Fingerprint): boolean =>
  policy === "reuse" || (policy === "auto" && released)

/** What `check` tells of an operator that has cached results of other code. */
export const notice = (
  { name, version }: { readonly name: string; readonly version: string },
  reused: boolean,
): string =>
  `${name}@${version} has cached results of other code under the same version; a run ${
    reused
      ? "reuses them (--changed-code recompute makes them again)"
      : "makes them again (--changed-code reuse reuses them)"
  }`

/** What the report of a run or a plan warns of, where results of other code are used. */
export const warning = (
  operator: { readonly name: string; readonly version: string },
  count: number,
): string =>
  `${count === 1 ? "1 cached result" : `${count} cached results`} of ${operator.name}@${operator.version} came from other code under the same version and ${count === 1 ? "is" : "are"} reused; --changed-code recompute makes them again`
