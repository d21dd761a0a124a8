/**
 * What the processes of calls are given of the environment of their driver: what programs need to run and to find
 * libraries, devices, networks and the store. Nothing else of it, such as tokens of other services, goes to operators or
 * into jobs. Who needs more names it, in `REELGRAPH_PASS` (or in a pools file): `HF_TOKEN,WANDB_*`.
 */

type Variables = Readonly<Record<string, string | undefined>>

/** Environment variable with names of others that are passed on too, separated by commas; `PREFIX_*` is all that begin so. */
export const moreVariable = "REELGRAPH_PASS"

/** The key of a run on a cluster, and what Slurm is asked with: for drivers and workers, never for calls. */
const secret = new Set(["REELGRAPH_RUN_KEY", "SLURM_JWT"])

const words = (text: string): ReadonlyArray<string> => text.trim().split(/\s+/u)

const names = new Set(
  words(`
    PATH HOME USER LOGNAME SHELL LANG LANGUAGE TZ TERM TMPDIR TMP TEMP SystemRoot
    LD_LIBRARY_PATH LD_PRELOAD DYLD_LIBRARY_PATH FONTCONFIG_PATH FONTCONFIG_FILE
    SSL_CERT_FILE SSL_CERT_DIR HTTP_PROXY HTTPS_PROXY NO_PROXY ALL_PROXY http_proxy https_proxy no_proxy all_proxy
  `),
)

const prefixes = words(`
  LC_ XDG_ NODE_ UV_ REELGRAPH_ REEL_ SLURM_ SLURMD_
  CUDA_ NVIDIA_ NCCL_ HIP_ ROCR_ HSA_ OMP_ GOMP_ KMP_ MKL_ OPENBLAS_ ORT_ MALLOC_ LIBVA_
`)

/** Of a store in a bucket: credentials and addresses. */
const ofBucket = "AWS_"

/** Names out of a list such as `HF_TOKEN,WANDB_*`. */
export const parse = (list: string): ReadonlyArray<string> =>
  list
    .split(",")
    .map((name) => name.trim())
    .filter((name) => /^[A-Za-z_]\w*\*?$/u.test(name))

/** Whether a variable is one of some names, of which some stand for all that begin so. */
const isAmong = (name: string, list: ReadonlyArray<string>): boolean =>
  list.some((each) => (each.endsWith("*") ? name.startsWith(each.slice(0, -1)) : name === each))

/** The variables that processes of calls are given, for work on a store: a folder, or a URL such as `s3://bucket`. */
export const passed = (
  environment: Variables,
  store: string,
  pass: ReadonlyArray<string> = [],
): Record<string, string> => {
  const more = [...parse(environment[moreVariable] ?? ""), ...pass]
  const bucket = /^s3:\/\//iu.test(store)
  return Object.fromEntries(
    Object.entries(environment).filter(
      (entry): entry is [string, string] =>
        entry[1] !== undefined &&
        !secret.has(entry[0]) &&
        (names.has(entry[0]) ||
          prefixes.some((prefix) => entry[0].startsWith(prefix)) ||
          (bucket && entry[0].startsWith(ofBucket)) ||
          isAmong(entry[0], more)),
    ),
  )
}

/** The variables of some names, of which some stand for all that begin so. */
export const picked = (environment: Variables, list: ReadonlyArray<string>): ReadonlyArray<string> =>
  Object.keys(environment).filter((name) => !secret.has(name) && isAmong(name, list))
