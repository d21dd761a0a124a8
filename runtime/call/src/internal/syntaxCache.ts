/**
 * Syntax of modules by the digest of their bytes, kept on this machine between processes: parsing takes a hundred times
 * longer than reading. A cache: whatever is wrong with its file, it is made anew.
 */
import { randomUUID } from "node:crypto"
import { mkdirSync, readFileSync, renameSync, statSync, writeFileSync } from "node:fs"
import { dirname } from "node:path"

import { Digest } from "@reelgraph/core"

import * as ModuleSyntax from "./moduleSyntax.ts"

/** Raised when the same bytes give another syntax. */
const format = 3
/** Entries and bytes of the file, at most. */
const entriesAtMost = 20_000
const bytesAtMost = 64 * 1024 * 1024

type Entry = readonly [
  digest: string,
  imports: ReadonlyArray<string>,
  texts: ReadonlyArray<string>,
  files: ReadonlyArray<string>,
  names: ReadonlyArray<string>,
  unseen: ReadonlyArray<string>,
]

/** What parses differently gives other digests. */
const header = (): string => `reelgraph syntax ${format} ${process.versions.node}`

export class SyntaxCache {
  readonly #file: string
  #entries: Map<string, Entry> | undefined
  #changed = false

  /** In a file that only its user may write. */
  constructor(file: string) {
    this.#file = file
  }

  /** The syntax of a module. */
  module(path: string, source: Uint8Array): ModuleSyntax.Syntax {
    const kind = path.slice(path.lastIndexOf("."))
    return this.#get(`${Digest.ofBytes(source)}${kind}`, () => ModuleSyntax.of(path, source))
  }

  /** The syntax of a function's text. */
  body(text: string): ModuleSyntax.Syntax {
    return this.#get(`${Digest.ofBytes(text)}()`, () => ModuleSyntax.ofFunction(text))
  }

  #get(key: string, parse: () => ModuleSyntax.Syntax): ModuleSyntax.Syntax {
    const entries = (this.#entries ??= this.#read())
    const known = entries.get(key)
    if (known !== undefined) {
      const [digest, imports, texts, files, names, unseen] = known
      return { digest, imports, texts, files, names, unseen }
    }
    const syntax = parse()
    entries.set(key, [syntax.digest, syntax.imports, syntax.texts, syntax.files, syntax.names, syntax.unseen])
    this.#changed = true
    return syntax
  }

  /** Writes what is new. Failing to is no harm. */
  save(): void {
    if (!this.#changed) return
    this.#changed = false
    try {
      // What other processes have written meanwhile is kept.
      const entries = [...new Map([...this.#read(), ...this.#entries!])].slice(-entriesAtMost)
      const temporary = `${this.#file}.${randomUUID()}`
      mkdirSync(dirname(this.#file), { recursive: true, mode: 0o700 })
      writeFileSync(temporary, JSON.stringify([header(), entries]), { mode: 0o600, flag: "wx" })
      renameSync(temporary, this.#file)
    } catch {
      // The next process parses again.
    }
  }

  #read(): Map<string, Entry> {
    try {
      const file = this.#file
      const { mode, size, uid } = statSync(file)
      // What others may write could make two different modules one.
      if (size > bytesAtMost || (mode & 0o022) !== 0 || uid !== process.getuid?.()) return new Map()
      const [found, entries] = JSON.parse(readFileSync(file, "utf8")) as [
        string,
        ReadonlyArray<[string, Entry]>,
      ]
      return found === header() ? new Map(entries) : new Map()
    } catch {
      return new Map()
    }
  }
}
