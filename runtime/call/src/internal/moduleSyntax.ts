/**
 * What a module says, whatever its formatting: a digest of its syntax tree, and what it refers to.
 *
 * Types are stripped first and positions, comments, quotes and semicolons left out, so that only edits which may change
 * what the code does change the digest. What cannot be parsed counts byte by byte.
 */
import { createRequire } from "node:module"

import { Canonical, Digest } from "@reelgraph/core"

export interface Syntax {
  readonly digest: string
  /** Specifiers of what it imports, as they stand there: static, dynamic and `require`, where they are literals. */
  readonly imports: ReadonlyArray<string>
  /** Files that it names by `new URL("./name", import.meta.url)`: threads, weights, tables. */
  readonly files: ReadonlyArray<string>
  /** Of a function: the names that it uses. Of a module: those that it assigns to, or whose contents it changes. */
  readonly names: ReadonlyArray<string>
}

const typeScript = /\.[cm]?ts$/
const javaScript = /\.[cm]?js$/

/** The syntax of a module, from the bytes of its file. */
export const of = (path: string, source: Uint8Array): Syntax => {
  const raw = (): Syntax => ({ digest: Digest.ofBytes(source), imports: [], files: [], names: [] })
  const text = Buffer.from(source).toString("utf8")
  try {
    if (path.endsWith(".json"))
      return { digest: Digest.ofJson(JSON.parse(text) as Canonical.Json), imports: [], files: [], names: [] }
    if (typeScript.test(path)) return parsed(stripped(text), path.endsWith(".cts"))
    if (javaScript.test(path)) return parsed(text, path.endsWith(".cjs"))
  } catch {
    // What has no syntax that is known here, such as decorators, counts as it stands.
  }
  return raw()
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
  return { digest: Digest.ofBytes(text), imports: [], files: [], names: [] }
}

// Only what is not in the cache is parsed: most processes never load these.
const require = createRequire(import.meta.url)
const acorn = () => require("acorn") as typeof import("acorn")
const amaro = () => require("amaro") as typeof import("amaro")

/** TypeScript without its types, by the same code as in Node. */
const stripped = (text: string): string => amaro().transformSync(text, { mode: "strip-only" }).code

type Tree = { readonly type?: string; readonly [key: string]: unknown }

const parsed = (code: string, script: boolean, names: "used" | "assigned" = "assigned"): Syntax => {
  const tree = acorn().parse(code, {
    ecmaVersion: "latest",
    sourceType: script ? "script" : "module",
    allowHashBang: true,
    allowReturnOutsideFunction: script,
    allowAwaitOutsideFunction: !script,
  })
  const found: Found = { imports: new Set(), files: new Set(), used: new Set(), assigned: new Set() }
  const text = JSON.stringify(tree, function (this: Tree, key: string, value: unknown) {
    if (key === "start" || key === "end" || key === "raw") return undefined
    if (typeof value === "bigint") return `${value}n`
    if (Array.isArray(value)) return value.filter((entry: Tree | null) => entry?.type !== "EmptyStatement")
    if (typeof value !== "object" || value === null) return value
    const node = value as Tree
    note(node, found)
    return plain(node)
  })
  return {
    digest: Digest.ofBytes(text),
    imports: [...found.imports],
    files: [...found.files],
    names: [...found[names]],
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
  if (node.type === "IfStatement" || "body" in node) {
    const changed: { [key: string]: unknown } = { ...node }
    for (const key of ["consequent", "alternate", "body"]) {
      const inner = changed[key] as Tree | null | undefined
      if (isLoop(node) && inner?.type === "BlockStatement") {
        const statements = (inner["body"] as ReadonlyArray<Tree>).filter(
          ({ type }) => type !== "EmptyStatement",
        )
        if (statements.length === 1 && !isDeclaration(statements[0]!)) changed[key] = statements[0]
      }
    }
    return changed
  }
  return node
}

const isLoop = ({ type }: Tree): boolean =>
  type === "IfStatement" || type === "WhileStatement" || type?.startsWith("For") === true

const isDeclaration = ({ type }: Tree): boolean => type?.endsWith("Declaration") === true

interface Found {
  readonly imports: Set<string>
  readonly files: Set<string>
  readonly used: Set<string>
  readonly assigned: Set<string>
}

/** Methods that change what they are called on. */
const mutators = new Set(
  "push pop shift unshift splice sort reverse fill copyWithin set add delete clear append".split(" "),
)

/** The variables that an assignment to a pattern changes, or what they hold. */
const assign = (target: Tree | null | undefined, assigned: Set<string>): void => {
  switch (target?.type) {
    case "Identifier":
      return void assigned.add(target["name"] as string)
    case "MemberExpression":
      return assign(target["object"] as Tree, assigned)
    case "ObjectPattern":
      for (const property of target["properties"] as ReadonlyArray<Tree>)
        assign((property["value"] ?? property["argument"]) as Tree, assigned)
      return
    case "ArrayPattern":
      for (const element of target["elements"] as ReadonlyArray<Tree | null>) assign(element, assigned)
      return
    case "AssignmentPattern":
      return assign(target["left"] as Tree, assigned)
    case "RestElement":
      return assign(target["argument"] as Tree, assigned)
  }
}

const note = (node: Tree, { assigned, files, imports, used }: Found): void => {
  switch (node.type) {
    case "Identifier":
      return void used.add(node["name"] as string)
    case "AssignmentExpression":
    case "ForInStatement":
    case "ForOfStatement":
      return assign(node["left"] as Tree, assigned)
    case "UpdateExpression":
    case "UnaryExpression":
      if (node.type === "UpdateExpression" || node["operator"] === "delete")
        assign(node["argument"] as Tree, assigned)
      return
    case "ImportDeclaration":
    case "ExportNamedDeclaration":
    case "ExportAllDeclaration":
    case "ImportExpression": {
      const from = literal(node["source"])
      if (from !== undefined) imports.add(from)
      return
    }
    case "CallExpression": {
      const callee = node["callee"] as Tree
      const [first] = node["arguments"] as ReadonlyArray<Tree>
      const from = literal(first)
      if (callee.type === "Identifier" && callee["name"] === "require" && from !== undefined)
        imports.add(from)
      if (callee.type === "MemberExpression" && mutators.has((callee["property"] as Tree)["name"] as string))
        assign(callee["object"] as Tree, assigned)
      return
    }
    case "NewExpression": {
      const callee = node["callee"] as Tree
      const [first, second] = node["arguments"] as ReadonlyArray<Tree>
      const named = literal(first)
      if (callee["name"] === "URL" && named !== undefined && isOwnUrl(second)) files.add(named)
      return
    }
  }
}

const isOwnUrl = (node: Tree | undefined): boolean =>
  node?.type === "MemberExpression" &&
  (node["object"] as Tree).type === "MetaProperty" &&
  (node["property"] as Tree)["name"] === "url"

/** The string that a node is, where it is one. */
const literal = (node: unknown): string | undefined => {
  const tree = node as Tree | null | undefined
  if (tree?.type === "Literal" && typeof tree["value"] === "string") return tree["value"]
  if (tree?.type !== "TemplateLiteral") return undefined
  const quasis = tree["quasis"] as ReadonlyArray<{ readonly value: { readonly cooked: string | null } }>
  return quasis.length === 1 ? (quasis[0]!.value.cooked ?? undefined) : undefined
}
