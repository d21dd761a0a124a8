/** Packages by what was installed: name and version, and those of everything that a package depends on. */
import { readFileSync, realpathSync } from "node:fs"
import { dirname, join } from "node:path"

import { Digest } from "@reelgraph/core"

const packaged = /^(.*\/node_modules\/(?:@[^/]+\/)?[^/]+)\//

interface Installed {
  readonly name: string
  readonly version: string
  /** Folders of what it depends on; what is not installed is left out. */
  readonly needs: ReadonlyArray<string>
}

/** What is read of installed packages; lives as long as somebody computes with it. */
export class PackageVersions {
  readonly #installed = new Map<string, Installed | undefined>()
  readonly #identities = new Map<string, string>()

  /**
   * `name@version+digest` of the package in `node_modules` that a file belongs to, where the digest covers the versions
   * of all its dependencies; undefined: the file is the project's own.
   */
  of(file: string): string | undefined {
    const folder = packaged.exec(file)?.[1]
    return folder === undefined ? undefined : this.#identity(folder)
  }

  #identity(folder: string): string {
    const known = this.#identities.get(folder)
    if (known !== undefined) return known
    const met = new Set([folder])
    const versions: Array<string> = []
    for (const each of met) {
      const installed = this.#read(each)
      versions.push(
        installed === undefined
          ? each.replace(/^.*\/node_modules\//, "")
          : `${installed.name}@${installed.version}`,
      )
      for (const need of installed?.needs ?? []) met.add(need)
    }
    const [own = ""] = versions
    const identity = `${own}+${Digest.ofJson([...new Set(versions)].sort()).slice(0, 16)}`
    this.#identities.set(folder, identity)
    return identity
  }

  #read(folder: string): Installed | undefined {
    if (!this.#installed.has(folder)) this.#installed.set(folder, read(folder))
    return this.#installed.get(folder)
  }
}

const read = (folder: string): Installed | undefined => {
  try {
    const { dependencies, name, peerDependencies, version } = JSON.parse(
      readFileSync(join(folder, "package.json"), "utf8"),
    ) as {
      readonly name?: string
      readonly version?: string
      readonly dependencies?: { readonly [name: string]: string }
      readonly peerDependencies?: { readonly [name: string]: string }
    }
    const needs = Object.keys({ ...dependencies, ...peerDependencies })
      .map((need) => find(folder, need))
      .filter((found) => found !== undefined)
    return { name: name ?? folder.replace(/^.*\/node_modules\//, ""), version: version ?? "?", needs }
  } catch {
    return undefined
  }
}

/** The folder of a dependency: in the nearest `node_modules`, as Node looks for it. */
const find = (from: string, name: string): string | undefined => {
  for (let folder = from; ; folder = dirname(folder)) {
    try {
      return realpathSync(join(folder, "node_modules", name))
    } catch {
      if (dirname(folder) === folder) return undefined
    }
  }
}
