/** Which modules are at work: read from the stack. */

const library = new URL("../", import.meta.url)
/** Vitest gives paths, Node URLs. */
const own = [library.href, decodeURIComponent(library.pathname)]

/** Frames that are looked at. */
const depth = 64

/**
 * URLs or paths of the modules on the stack outside this package, each once, the innermost first; beyond that one, of
 * packages in `node_modules` none: they call a project's code, and do not make what it makes. While a module is
 * evaluated it is the only one: its importers are not on the stack. Runtimes without call sites give none.
 */
export const modules = (): ReadonlyArray<string> => {
  const { prepareStackTrace, stackTraceLimit } = Error
  try {
    Error.stackTraceLimit = depth
    Error.prepareStackTrace = (_, sites) => sites
    const sites = new Error().stack as unknown as ReadonlyArray<NodeJS.CallSite> | string | undefined
    if (!Array.isArray(sites)) return []
    const [innermost, ...callers] = (sites as ReadonlyArray<NodeJS.CallSite>)
      .map((site) => site.getFileName() ?? site.getEvalOrigin() ?? "")
      .filter(
        (name) => name !== "" && !name.startsWith("node:") && !own.some((path) => name.startsWith(path)),
      )
    if (innermost === undefined) return []
    return [...new Set([innermost, ...callers.filter((name) => !name.includes("/node_modules/"))])]
  } finally {
    Error.prepareStackTrace = prepareStackTrace
    Error.stackTraceLimit = stackTraceLimit
  }
}
