/** Which modules are at work: read from the stack. */

const library = new URL("../", import.meta.url)
/** Vitest gives paths, Node URLs. */
const own = [library.href, decodeURIComponent(library.pathname)]

/** Frames that are looked at. */
const depth = 64

/** Runtimes and libraries: what they call is not theirs. */
const isForeign = (name: string): boolean => name.startsWith("node:") || name.includes("/node_modules/")

/** Below the loop of a fiber is whoever happened to resume it. */
const isResumed = (site: NodeJS.CallSite): boolean =>
  site.getFunctionName()?.endsWith("runLoop") === true && isForeign(site.getFileName() ?? "")

/**
 * URLs or paths of the modules on the stack outside this package, each once, the innermost first; of libraries only the
 * innermost. While a module is evaluated it is the only one, as its importers are not on the stack. Runtimes without
 * call sites give none.
 */
export const modules = (): ReadonlyArray<string> => {
  const { stackTraceLimit } = Error
  const prepare = Object.getOwnPropertyDescriptor(Error, "prepareStackTrace")
  try {
    Error.stackTraceLimit = depth
    Error.prepareStackTrace = (_, sites) => sites
    const sites = new Error().stack as unknown as ReadonlyArray<NodeJS.CallSite> | string | undefined
    if (!Array.isArray(sites)) return []
    const all = sites as ReadonlyArray<NodeJS.CallSite>
    const end = all.findIndex(isResumed)
    const [innermost, ...callers] = (end === -1 ? all : all.slice(0, end))
      .map((site) => site.getFileName() ?? site.getEvalOrigin() ?? "")
      .filter((name) => name !== "" && !own.some((path) => name.startsWith(path)))
    if (innermost === undefined) return []
    return [...new Set([innermost, ...callers.filter((name) => !isForeign(name))])]
  } finally {
    if (prepare === undefined) Reflect.deleteProperty(Error, "prepareStackTrace")
    else Object.defineProperty(Error, "prepareStackTrace", prepare)
    Error.stackTraceLimit = stackTraceLimit
  }
}
