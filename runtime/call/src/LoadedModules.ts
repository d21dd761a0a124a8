/**
 * What modules were when this process loaded them: their bytes and what their imports led to, recorded by hooks of
 * Node's module loader. A file that is edited later is still known as what runs here. One that was read for a
 * fingerprint and edited before it is loaded does not load any more.
 *
 * For processes of their own (the command, a worker). Where {@link record} was never called, nothing is known and files
 * are read again.
 */
import { registerHooks } from "node:module"

const sources = new Map<string, Uint8Array>()
const resolved = new Map<string, string>()
let recording = false

const keyOf = (specifier: string, parent: string): string => `${parent}\0${specifier}`

/** URLs of modules without what tells two instances of one file apart. */
export const fileOf = (url: string): string => url.replace(/[?#].*$/s, "")

/** From here on, notes every module that this process loads from a file outside `node_modules`. */
export const record = (): void => {
  if (recording) return
  recording = true
  registerHooks({
    resolve: (specifier, context, next) => {
      const found = next(specifier, context)
      if (context.parentURL !== undefined)
        resolved.set(keyOf(specifier, fileOf(context.parentURL)), found.url)
      return found
    },
    load: (url, context, next) => {
      const loaded = next(url, context)
      const { source } = loaded
      if (isOwn(url) && source !== undefined && source !== null) {
        const bytes = Buffer.from(source as string)
        const before = sources.get(fileOf(url))
        if (before !== undefined && !bytes.equals(before)) throw new Error(edited(url))
        sources.set(fileOf(url), bytes)
      }
      return loaded
    },
  })
}

const isOwn = (url: string): boolean => url.startsWith("file:") && !url.includes("/node_modules/")

const edited = (url: string): string =>
  `${fileOf(url)} was edited after this process read it, so that results would be cached under the wrong code; run again`

/** Notes what a module was when its code was read: it is loaded with these bytes or not at all. */
export const expect = (url: string, source: Uint8Array): void => {
  if (recording) sources.set(url, source)
}

/** The bytes that a module was loaded from; undefined: it is not loaded, or nobody took note. */
export const sourceOf = (url: string): Uint8Array | undefined => sources.get(url)

/** What an import of a module led to; undefined: it was never imported, or nobody took note. */
export const resolutionOf = (specifier: string, parent: string): string | undefined =>
  resolved.get(keyOf(specifier, parent))
