/**
 * The modules of a project that a module leads to: itself, what it imports from files outside `node_modules`, and the
 * files that it names by URL; of packages, name and version.
 */
import { createHash } from "node:crypto"
import { readFileSync, realpathSync, statSync } from "node:fs"
import { isBuiltin } from "node:module"
import { fileURLToPath, pathToFileURL } from "node:url"

import { Digest } from "@reelgraph/core"
import { resolve } from "import-meta-resolve"

import * as LoadedModules from "../LoadedModules.ts"
import type { Syntax } from "./moduleSyntax.ts"
import { PackageVersions } from "./packageVersions.ts"

/** Files named by URL are read up to this size; of larger ones, size and time count. */
const fileBytesAtMost = 64 * 1024 * 1024
/** Modules that are read for one operator, at most. */
const modulesAtMost = 20_000

/** Gives the syntax of bytes, from a cache where it is there. */
export type Parse = (path: string, source: Uint8Array) => Syntax

export interface ModuleGraph {
  /** Independent of where the project lies. */
  readonly digest: string
  /** Whether every entry is part of a package in `node_modules`. */
  readonly released: boolean
  /** What could not be read: what a result depends on beyond this is not known. */
  readonly unreadable: ReadonlyArray<string>
  /** Files that are no modules, and what they were. */
  readonly data: ReadonlyMap<string, string>
}

/** What a module refers to: modules and other files of the project, or what is known by a text. */
type Reference = { readonly file: string } | { readonly data: string } | { readonly text: string }

interface Module {
  readonly digest: string
  /** Variables that change while its functions run, as `function.variable`. */
  readonly changed: ReadonlyArray<string>
  readonly unseen: ReadonlyArray<string>
  readonly references: ReadonlyArray<Reference>
}

/** What tells whether a file is what it was when it was read. */
const stateOf = (file: string): string | undefined => {
  const status = statSync(file, { bigint: true, throwIfNoEntry: false })
  return status === undefined
    ? undefined
    : [status.ino, status.size, status.mtimeNs, status.ctimeNs].join(" ")
}

/** Modules as they were loaded or, where that is not known, as their files are. */
export class Modules {
  readonly #parse: Parse
  readonly packages = new PackageVersions()
  readonly #read = new Map<
    string,
    { readonly state: string | undefined; readonly module: Module | undefined }
  >()
  readonly #contents = new Map<string, { readonly state: string | undefined; readonly content: string }>()
  readonly #files = new Map<string, string | undefined>()
  readonly #resolved = new Map<string, string>()

  constructor(parse: Parse) {
    this.#parse = parse
  }

  /** What a file says; undefined: it cannot be read. */
  get(file: string): Module | undefined {
    // What is loaded stays.
    const state = LoadedModules.sourceOf(pathToFileURL(file).href) === undefined ? stateOf(file) : "loaded"
    const known = this.#read.get(file)
    if (known !== undefined && known.state === state) return known.module
    const module = this.#make(file)
    this.#read.set(file, { state, module })
    return module
  }

  #make(file: string): Module | undefined {
    const url = pathToFileURL(file).href
    let syntax: Syntax
    try {
      const loaded = LoadedModules.sourceOf(url)
      const source = loaded ?? readFileSync(file)
      if (loaded === undefined) LoadedModules.expect(url, source)
      syntax = this.#parse(file, source)
    } catch {
      return undefined
    }
    const imported = syntax.imports.map((specifier) => this.#imported(specifier, url))
    const named = [
      ...syntax.files.flatMap((name) => this.#named(name, url)),
      // Of other texts only modules count: an operator may write a file that it names.
      ...syntax.texts.flatMap((name) => this.#named(name, url)).filter((to) => !("data" in to)),
    ]
    const { digest, names, unseen } = syntax
    return { digest, changed: names, unseen, references: [...imported, ...named] }
  }

  /** The file of a module by its URL or path, links followed; undefined: it is no file. */
  fileOf(module: string): string | undefined {
    if (!this.#files.has(module)) this.#files.set(module, realFile(module))
    return this.#files.get(module)
  }

  /** What a file that is no module is known by. */
  contentOf(file: string): string {
    const state = stateOf(file)
    const known = this.#contents.get(file)
    if (known !== undefined && known.state === state) return known.content
    const content = contentOf(file)
    this.#contents.set(file, { state, content })
    return content
  }

  /** Variables that change while functions of any of some modules (URLs or paths) run. */
  changed(modules: ReadonlyArray<string>): ReadonlySet<string> {
    const files = modules.map((module) => this.fileOf(module)).filter((file) => file !== undefined)
    return new Set(files.flatMap((file) => this.get(file)?.changed ?? []))
  }

  #imported(specifier: string, parent: string): Reference {
    if (isBuiltin(specifier)) return { text: specifier }
    try {
      const url = LoadedModules.resolutionOf(specifier, parent) ?? this.#resolve(specifier, parent)
      const file = this.fileOf(url)
      return file === undefined ? { text: url } : this.#reference(file)
    } catch {
      return { text: `absent ${specifier}` }
    }
  }

  #resolve(specifier: string, parent: string): string {
    if (/^\.{0,2}\//.test(specifier)) return new URL(specifier, parent).href
    // What a package is does not depend on which module of a folder asks for it.
    const key = `${parent.slice(0, parent.lastIndexOf("/"))}\n${specifier}`
    let url = this.#resolved.get(key)
    if (url === undefined) this.#resolved.set(key, (url = resolve(specifier, parent)))
    return url
  }

  /** The file that a text names: as a URL does, or as `require` does, without its ending. */
  #named(name: string, parent: string): ReadonlyArray<Reference> {
    const from = new URL(name, parent).href
    const file =
      this.fileOf(from) ??
      endings.map((ending) => this.fileOf(from + ending)).find((found) => found !== undefined)
    // Many texts look like files.
    if (file === undefined) return []
    const reference = this.#reference(file)
    return ["file" in reference && !isModule.test(file) ? { data: file } : reference]
  }

  #reference(file: string): Reference {
    const text = this.packages.of(file)
    return text === undefined ? { file } : { text }
  }
}

const realFile = (module: string): string | undefined => {
  try {
    const url = module.startsWith("/") ? pathToFileURL(module) : new URL(LoadedModules.fileOf(module))
    return url.protocol === "file:" ? realpathSync(fileURLToPath(url)) : undefined
  } catch {
    return undefined
  }
}

/** What `require` looks for beside a name. */
const endings = [".js", ".json", ".cjs", ".ts", ".cts", "/index.js", "/index.cjs", "/index.ts"]

const isModule = /\.[cm]?[jt]s$/

/** The graph of some entry modules (URLs or paths). Depends on the order of the entries. */
export const of = (entries: ReadonlyArray<string>, modules: Modules): ModuleGraph => {
  const order = new Map<string, number>()
  const unreadable: Array<string> = []
  /** Files are known by when they were met first, whatever their names. */
  const enter = (file: string): string => {
    if (!order.has(file)) order.set(file, order.size)
    return `#${order.get(file)}`
  }
  const data = new Map<string, string>()
  const dataOf = (file: string): string => {
    const content = modules.contentOf(file)
    data.set(file, content)
    return content
  }
  let released = entries.length > 0
  const roots = entries.map((entry) => {
    const file = modules.fileOf(entry)
    if (file === undefined) unreadable.push(entry)
    const text = file === undefined ? "absent" : modules.packages.of(file)
    released &&= file !== undefined && text !== undefined
    return text ?? enter(file!)
  })
  const lines: Array<string> = []
  for (const file of order.keys()) {
    const module = lines.length < modulesAtMost ? modules.get(file) : undefined
    if (module === undefined) unreadable.push(file)
    for (const what of module?.unseen ?? []) unreadable.push(`${file}: ${what}`)
    const references = (module?.references ?? []).map((to) =>
      "file" in to ? enter(to.file) : "data" in to ? dataOf(to.data) : to.text,
    )
    lines.push([module?.digest ?? "absent", ...references].join("\n"))
  }
  return { digest: Digest.ofBytes([...roots, ...lines].join("\n\n")), released, unreadable, data }
}

/** What a file that is no module is known by. */
const contentOf = (file: string): string => {
  try {
    const status = statSync(file)
    if (status.isDirectory()) return "folder"
    if (!status.isFile()) return "special"
    if (status.size > fileBytesAtMost) return `size ${status.size} time ${status.mtimeMs}`
    return createHash("sha256").update(readFileSync(file)).digest("hex")
  } catch {
    return "absent"
  }
}
