/**
 * What a module says, whatever its formatting: a digest of its syntax tree, and what it refers to.
 *
 * Types are stripped first and positions, comments, quotes and semicolons left out, so that only edits which may change
 * what the code does change the digest. What cannot be parsed counts byte by byte.
 */
import { createRequire } from "node:module"

import { Digest } from "@reelgraph/core"

import * as ChangedVariables from "./changedVariables.ts"

export interface Syntax {
  readonly digest: string
  /** Specifiers of what it imports, as they stand there: static, dynamic and `require`, where they are literals. */
  readonly imports: ReadonlyArray<string>
  /** Texts in it that may name a module beside it, such as `"./thread.ts"`: what it loads in any other way. */
  readonly texts: ReadonlyArray<string>
  /** Files that it names by `new URL("./name", ...)`: threads, weights, tables. */
  readonly files: ReadonlyArray<string>
  /**
   * Of a function: the names that it uses. Of a module: variables that functions within their own function change, as
   * `function.variable`.
   */
  readonly names: ReadonlyArray<string>
  /** What it loads that cannot be read from it, in a few words each. */
  readonly unseen: ReadonlyArray<string>
}

const typeScript = /\.[cm]?ts$/
const javaScript = /\.[cm]?js$/

/** A text that may name a file beside a module. */
const isRelative = /^\.{1,2}\/[^\n]{1,300}$/
const relativeTexts = /["'`](\.{1,2}\/[^"'`\n$]{1,300})["'`]/g

/** The syntax of a module, from the bytes of its file. */
export const of = (path: string, source: Uint8Array): Syntax => {
  const text = Buffer.from(source).toString("utf8")
  const raw = (texts: ReadonlyArray<string>, unseen: ReadonlyArray<string>): Syntax => ({
    digest: Digest.ofBytes(source),
    imports: [],
    texts,
    files: [],
    names: [],
    unseen,
  })
  const isModule = typeScript.test(path) || javaScript.test(path)
  try {
    // The order of members may matter, white space does not. Numbers with exponents may be read as another.
    if (path.endsWith(".json") && !/\d[eE]/.test(text))
      return { ...raw([], []), digest: Digest.ofBytes(JSON.stringify(JSON.parse(text))) }
    if (typeScript.test(path)) return parsed(stripped(text), path.endsWith(".cts"))
    if (isModule) return parsed(text, path.endsWith(".cjs"))
  } catch {
    // What has no syntax that is known here, such as decorators, counts as it stands.
  }
  return isModule
    ? raw(
        [...text.matchAll(relativeTexts)].map(([, file]) => file!),
        ["it cannot be parsed, and packages that it imports are not known"],
      )
    : raw([], [])
}

/** The syntax of one function's text, as `String(f)` gives it. */
export const ofFunction = (text: string): Syntax => {
  for (const whole of [`(${text})`, `({${text}})`]) {
    try {
      return parsed(whole, false, "used")
    } catch {
      // A method is no expression by itself.
    }
  }
  return { digest: Digest.ofBytes(text), imports: [], texts: [], files: [], names: [], unseen: [] }
}

// Only what is not in the cache is parsed: most processes never load these.
const require = createRequire(import.meta.url)
const acorn = () => require("acorn") as typeof import("acorn")
const amaro = () => require("amaro") as typeof import("amaro")

/** TypeScript without its types, by the same code as in Node. */
const stripped = (text: string): string => amaro().transformSync(text, { mode: "strip-only" }).code

type Tree = { readonly type?: string; readonly [key: string]: unknown }

interface Found {
  readonly imports: Set<string>
  readonly texts: Set<string>
  readonly files: Set<string>
  readonly used: Set<string>
  readonly unseen: Set<string>
}

const parsed = (code: string, script: boolean, names: "used" | "changed" = "changed"): Syntax => {
  const tree = acorn().parse(code, {
    ecmaVersion: "latest",
    sourceType: script ? "script" : "module",
    allowHashBang: true,
    allowReturnOutsideFunction: script,
    allowAwaitOutsideFunction: !script,
    // Of a function alone, which is parsed without its class.
    allowSuperOutsideMethod: true,
    checkPrivateFields: false,
  })
  const found: Found = {
    imports: new Set(),
    texts: new Set(),
    files: new Set(),
    used: new Set(),
    unseen: new Set(),
  }
  const text = JSON.stringify(tree, function (this: Tree, key: string, value: unknown) {
    if (key === "start" || key === "end" || (key === "raw" && this.type === "Literal")) return undefined
    if (typeof value === "bigint") return `${value}n`
    // JSON has none of these.
    if (typeof value === "number" && !Number.isFinite(value)) return `number ${value}`
    if (Array.isArray(value)) return value.filter((entry: Tree | null) => entry?.type !== "EmptyStatement")
    if (typeof value !== "object" || value === null) return value
    const node = value as Tree
    note(node, found)
    return plain(node)
  })
  return {
    digest: Digest.ofBytes(text),
    imports: [...found.imports],
    texts: [...found.texts].filter((text) => !found.imports.has(text) && !found.files.has(text)),
    files: [...found.files],
    names: names === "used" ? [...found.used] : ChangedVariables.of(tree as unknown as Tree),
    unseen: [...found.unseen],
  }
}

/** Different ways to write the same thing are one. */
const plain = (node: Tree): Tree => {
  // `{ "a": 1 }` is `{ a: 1 }`.
  if ("key" in node && node["computed"] === false) {
    const key = node["key"] as Tree
    if (key.type === "Literal" && typeof key["value"] === "string")
      return { ...node, key: { type: "Identifier", name: key["value"] } }
  }
  // A block around a lone statement is a matter of taste.
  if (!mayLackBlock(node)) return node
  const changed: { [key: string]: unknown } = { ...node }
  for (const key of ["consequent", "alternate", "body"]) {
    const inner = changed[key] as Tree | null | undefined
    if (inner?.type !== "BlockStatement") continue
    const statements = (inner["body"] as ReadonlyArray<Tree>).filter(({ type }) => type !== "EmptyStatement")
    if (statements.length === 1 && !isDeclaration(statements[0]!)) changed[key] = statements[0]
  }
  return changed
}

const mayLackBlock = ({ type }: Tree): boolean =>
  type === "IfStatement" || type === "WhileStatement" || type?.startsWith("For") === true

const isDeclaration = ({ type }: Tree): boolean => type?.endsWith("Declaration") === true

const note = (node: Tree, { files, imports, texts, unseen, used }: Found): void => {
  switch (node.type) {
    case "Identifier":
      return void used.add(node["name"] as string)
    case "ThisExpression":
      return void used.add("this")
    case "Literal":
    case "TemplateLiteral": {
      const text = literal(node)
      if (text !== undefined && isRelative.test(text)) texts.add(text)
      return
    }
    case "NewExpression": {
      const name = literal((node["arguments"] as ReadonlyArray<Tree>)[0])
      if ((node["callee"] as Tree)["name"] === "URL" && name !== undefined && isRelative.test(name))
        files.add(name)
      return
    }
    case "ImportDeclaration":
    case "ExportNamedDeclaration":
    case "ExportAllDeclaration":
    case "ImportExpression": {
      const from = literal(node["source"])
      if (from !== undefined) imports.add(from)
      else if (node.type === "ImportExpression") unseen.add("it imports a module whose name it computes")
      return
    }
    case "CallExpression": {
      const callee = node["callee"] as Tree
      const [first] = node["arguments"] as ReadonlyArray<Tree>
      if (callee.type !== "Identifier" || callee["name"] !== "require") return
      const from = literal(first)
      if (from === undefined) unseen.add("it requires a module whose name it computes")
      // What is relative is looked for as `require` does, among the files.
      else if (!isRelative.test(from)) imports.add(from)
    }
  }
}

/** The string that a node is, where it is one. */
const literal = (node: unknown): string | undefined => {
  const tree = node as Tree | null | undefined
  if (tree?.type === "Literal" && typeof tree["value"] === "string") return tree["value"]
  if (tree?.type !== "TemplateLiteral") return undefined
  const quasis = tree["quasis"] as ReadonlyArray<{ readonly value: { readonly cooked: string | null } }>
  return quasis.length === 1 ? (quasis[0]!.value.cooked ?? undefined) : undefined
}
