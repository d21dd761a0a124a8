/** Which modules are at work: read from the stack. */

const library = new URL("../", import.meta.url)
/** Vitest gives paths, Node URLs. */
const own = [library.href, decodeURIComponent(library.pathname)]

/** Frames that are looked at. */
const depth = 64

/** Code that calls others' functions, whatever they are: runtimes and libraries. */
const isForeign = (name: string): boolean => name.startsWith("node:") || name.includes("/node_modules/")

/**
 * URLs or paths of the modules on the stack outside this package, each once, the innermost first, down to the first
 * library or runtime: what is below only happened to call it. While a module is evaluated it is the only one, as its
 * importers are not on the stack. Runtimes without call sites give none.
 */
export const modules = (): ReadonlyArray<string> => {
  const { stackTraceLimit } = Error
  const prepare = Object.getOwnPropertyDescriptor(Error, "prepareStackTrace")
  try {
    Error.stackTraceLimit = depth
    Error.prepareStackTrace = (_, sites) => sites
    const sites = new Error().stack as unknown as ReadonlyArray<NodeJS.CallSite> | string | undefined
    if (!Array.isArray(sites)) return []
    const names = (sites as ReadonlyArray<NodeJS.CallSite>)
      .map((site) => site.getFileName() ?? site.getEvalOrigin() ?? "")
      .filter((name) => name !== "" && !own.some((path) => name.startsWith(path)))
    const [innermost, ...callers] = names
    if (innermost === undefined) return []
    const end = callers.findIndex(isForeign)
    return [...new Set([innermost, ...(end === -1 ? callers : callers.slice(0, end))])]
  } finally {
    if (prepare === undefined) Reflect.deleteProperty(Error, "prepareStackTrace")
    else Object.defineProperty(Error, "prepareStackTrace", prepare)
    Error.stackTraceLimit = stackTraceLimit
  }
}
