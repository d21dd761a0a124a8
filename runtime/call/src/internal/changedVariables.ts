/**
 * Variables that change while functions run: those that a function within the one that declares them assigns to, or
 * whose contents it changes. What only the declaring function changes has settled when it returns.
 */

type Tree = { readonly type?: string; readonly [key: string]: unknown }

interface Scope {
  readonly name: string
  readonly declared: ReadonlySet<string>
}

/** Methods that change what they are called on. */
const mutators = new Set(
  "push pop shift unshift splice sort reverse fill copyWithin set add delete clear append".split(" "),
)

const isNode = (value: unknown): value is Tree =>
  typeof value === "object" && value !== null && typeof (value as Tree).type === "string"

const isFunction = ({ type }: Tree): boolean =>
  type === "FunctionDeclaration" || type === "FunctionExpression" || type === "ArrowFunctionExpression"

const childrenOf = (node: Tree): ReadonlyArray<Tree> =>
  Object.values(node).flatMap((value) =>
    isNode(value) ? [value] : Array.isArray(value) ? value.filter(isNode) : [],
  )

/** Names that a pattern binds. */
const bind = (pattern: Tree | null | undefined, names: Set<string>): void => {
  switch (pattern?.type) {
    case "Identifier":
      return void names.add(pattern["name"] as string)
    case "ObjectPattern":
      for (const property of pattern["properties"] as ReadonlyArray<Tree>)
        bind((property["value"] ?? property["argument"]) as Tree, names)
      return
    case "ArrayPattern":
      for (const element of pattern["elements"] as ReadonlyArray<Tree | null>) bind(element, names)
      return
    case "AssignmentPattern":
      return bind(pattern["left"] as Tree, names)
    case "RestElement":
      return bind(pattern["argument"] as Tree, names)
  }
}

/** Names that a function, or a module, declares in all of its blocks. */
const declaredBy = (node: Tree): ReadonlySet<string> => {
  const names = new Set<string>()
  for (const param of (node["params"] ?? []) as ReadonlyArray<Tree>) bind(param, names)
  const visit = (inner: Tree): void => {
    if (inner.type === "VariableDeclarator") bind(inner["id"] as Tree, names)
    if (inner.type === "CatchClause") bind(inner["param"] as Tree | null, names)
    if (inner.type === "FunctionDeclaration" || inner.type === "ClassDeclaration")
      bind(inner["id"] as Tree | null, names)
    if (!isFunction(inner)) childrenOf(inner).forEach(visit)
  }
  const { body } = node
  if (isNode(body)) visit(body)
  else if (Array.isArray(body)) body.filter(isNode).forEach(visit)
  return names
}

/** The variables that an assignment to a target changes, or whose contents. */
const changedBy = (target: Tree): ReadonlySet<string> => {
  const names = new Set<string>()
  let root = target
  while (root.type === "MemberExpression") root = root["object"] as Tree
  bind(root, names)
  return names
}

/** What a node assigns to, or changes the contents of. */
const targetOf = (node: Tree): Tree | undefined => {
  switch (node.type) {
    case "AssignmentExpression":
      return node["left"] as Tree
    case "ForInStatement":
    case "ForOfStatement":
      return (node["left"] as Tree).type === "VariableDeclaration" ? undefined : (node["left"] as Tree)
    case "UpdateExpression":
      return node["argument"] as Tree
    case "UnaryExpression":
      return node["operator"] === "delete" ? (node["argument"] as Tree) : undefined
    case "CallExpression": {
      const callee = node["callee"] as Tree
      const changes =
        callee.type === "MemberExpression" && mutators.has((callee["property"] as Tree)["name"] as string)
      return changes ? (callee["object"] as Tree) : undefined
    }
  }
  return undefined
}

/** The name that a function has from where it stands: `const f = () => ...`, `{ f: () => ... }`. */
const nameFrom = (node: Tree, child: Tree): string => {
  const key = (
    node["init"] === child || node["right"] === child || node["value"] === child
      ? (node["id"] ?? node["left"] ?? node["key"])
      : undefined
  ) as Tree | undefined
  return key?.type === "Identifier" ? (key["name"] as string) : ""
}

/**
 * Each as `function.variable`; anonymous functions, and the module, have no name. Variables of the module are among them,
 * whoever changes them: runners that wrap modules into functions make them variables of a function.
 */
export const of = (tree: Tree): ReadonlyArray<string> => {
  const ofModule = declaredBy(tree)
  const changed = new Set([...ofModule].map((name) => `.${name}`))
  const visit = (node: Tree, scopes: ReadonlyArray<Scope>, inferred: string): void => {
    const target = targetOf(node)
    for (const name of target === undefined ? [] : changedBy(target)) {
      const at = scopes.findLastIndex(({ declared }) => declared.has(name))
      if (at !== -1 && at < scopes.length - 1) changed.add(`${scopes[at]!.name}.${name}`)
    }
    const own = (node["id"] as Tree | null | undefined)?.["name"] as string | undefined
    const within = isFunction(node)
      ? [...scopes, { name: own ?? inferred, declared: declaredBy(node) }]
      : scopes
    for (const child of childrenOf(node)) visit(child, within, nameFrom(node, child))
  }
  visit(tree, [{ name: "", declared: ofModule }], "")
  return [...changed]
}
