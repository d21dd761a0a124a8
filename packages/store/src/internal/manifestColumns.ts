/**
 * From a record's schema to the columns of a Parquet file, and values both ways.
 *
 * Types come from the schema alone, never from the data: two manifests of one schema can be read as one table,
 * and an empty one has its columns. What is walked is the schema's JSON encoding.
 *
 * | schema | column |
 * |---|---|
 * | string, literals, dates, brands | STRING |
 * | integer | INT64; INT32 when its bounds fit |
 * | other number | DOUBLE |
 * | boolean | BOOLEAN |
 * | array or tuple of one of the above | LIST |
 * | struct | one column per field, dotted: `video.width` |
 * | artifact | `clip.sha256`, `clip.bytes`, `clip.media_type` |
 * | union of structs with a distinguishing literal | the columns of all members |
 * | anything else | JSON |
 *
 * A column is nullable when its field, or a struct around it, may be absent or null.
 */
import type * as SchemaAST from "effect/SchemaAST"
import type { SchemaElement } from "hyparquet"

type Scalar = "string" | "int32" | "int64" | "double" | "boolean"

export interface Column {
  readonly name: string
  readonly type: Scalar | "json"
  /** A LIST of the type, with null elements if so marked. */
  readonly list: "no" | "of values" | "of nullable values"
  readonly nullable: boolean
}

/** Where a field's value lives: one column, or the columns of its own fields. */
export type Node =
  | { readonly kind: "column"; readonly column: Column }
  | { readonly kind: "struct"; readonly fields: ReadonlyArray<Field>; readonly constants: JsonObject }
  | { readonly kind: "union"; readonly tag: string; readonly members: ReadonlyMap<unknown, Node> }

interface Field {
  readonly key: string
  readonly node: Node
  /** What a null column means for the field: the struct does not have it, it is null, or it cannot be. */
  readonly whenNull: "absent" | "null" | "impossible"
}

type JsonObject = { readonly [key: string]: unknown }

const isObject = (value: unknown): value is JsonObject =>
  typeof value === "object" && value !== null && !Array.isArray(value)

/** The members of a union that say something, and whether null or undefined is among them. */
const membersOf = (
  ast: SchemaAST.AST,
): { readonly members: ReadonlyArray<SchemaAST.AST>; readonly nullable: boolean } => {
  if (ast._tag === "Null" || ast._tag === "Undefined" || ast._tag === "Void") {
    return { members: [], nullable: true }
  }
  if (ast._tag !== "Union") return { members: [ast], nullable: false }
  const inner = ast.types.map(membersOf)
  return {
    members: inner.flatMap(({ members }) => members),
    nullable: inner.some(({ nullable }) => nullable),
  }
}

/** The checks of a schema as id and parameters, groups taken apart. */
const checksOf = (
  ast: SchemaAST.AST,
): ReadonlyArray<{ readonly id: string; readonly payload: JsonObject }> => {
  const flatten = (check: SchemaAST.Check<any>): ReadonlyArray<SchemaAST.Filter<any>> =>
    check._tag === "FilterGroup" ? check.checks.flatMap(flatten) : [check]
  return (ast.checks ?? []).flatMap(flatten).flatMap((filter) => {
    const found = filter.annotations?.["representation"]
    if (!isObject(found) || typeof found["id"] !== "string") return []
    return [{ id: found["id"], payload: isObject(found["payload"]) ? found["payload"] : {} }]
  })
}

const numberType = (ast: SchemaAST.AST): Scalar => {
  const checks = checksOf(ast)
  if (!checks.some(({ id }) => id === "effect/schema/isInt")) return "double"
  const bound = (names: ReadonlyArray<string>): ReadonlyArray<number> =>
    checks.flatMap(({ payload }) => names.map((name) => payload[name]).filter((n) => typeof n === "number"))
  const minimum = Math.max(-Infinity, ...bound(["minimum", "exclusiveMinimum"]))
  const maximum = Math.min(Infinity, ...bound(["maximum", "exclusiveMaximum"]))
  return minimum >= -(2 ** 31) && maximum <= 2 ** 31 - 1 ? "int32" : "int64"
}

const literalType = (value: unknown): Scalar | undefined => {
  if (typeof value === "string") return "string"
  if (typeof value === "boolean") return "boolean"
  if (typeof value !== "number") return undefined
  return Number.isSafeInteger(value) ? "int64" : "double"
}

// The JSON encoding of a number that need not be finite.
const isNonFinite = (ast: SchemaAST.AST): boolean =>
  ast._tag === "Literal" && ["NaN", "Infinity", "-Infinity"].includes(String(ast.literal))

/** The one scalar type of all members, or undefined. */
const scalarType = (members: ReadonlyArray<SchemaAST.AST>): Scalar | undefined => {
  const hasNumber = members.some((member) => member._tag === "Number")
  const types = new Set(
    members
      .filter((member) => !(hasNumber && isNonFinite(member)))
      .map((member) => {
        if (member._tag === "String" || member._tag === "TemplateLiteral") return "string"
        if (member._tag === "Boolean") return "boolean"
        if (member._tag === "Number") return numberType(member)
        return member._tag === "Literal" ? literalType(member.literal) : undefined
      }),
  )
  const [type, ...others] = types
  return others.length === 0 ? type : undefined
}

const literalOf = (ast: SchemaAST.AST | undefined): unknown =>
  ast?._tag === "Literal" ? ast.literal : undefined

const propertyOf = (ast: SchemaAST.Objects, key: string): SchemaAST.AST | undefined =>
  ast.propertySignatures.find(({ name }) => name === key)?.type

const isArtifact = (ast: SchemaAST.Objects): boolean =>
  literalOf(propertyOf(ast, "_tag")) === "Artifact" &&
  ["sha256", "bytes", "mediaType"].every((key) => propertyOf(ast, key) !== undefined)

/** The key under which every member of a union of structs has a literal of its own. */
const tagOf = (members: ReadonlyArray<SchemaAST.Objects>): string | undefined =>
  members[0]?.propertySignatures
    .map(({ name }) => name)
    .filter((name) => typeof name === "string")
    .find((name) => {
      const literals = members.map((member) => literalOf(propertyOf(member, name)))
      return !literals.includes(undefined) && new Set(literals).size === members.length
    })

const isStructLike = (ast: SchemaAST.AST): ast is SchemaAST.Objects =>
  ast._tag === "Objects" && ast.indexSignatures.length === 0 && ast.propertySignatures.length > 0

const joined = (prefix: string, name: string): string => (prefix === "" ? name : `${prefix}.${name}`)

const structNode = (ast: SchemaAST.Objects, prefix: string, nullable: boolean): Node => {
  const artifact = isArtifact(ast)
  const fields = ast.propertySignatures
    .filter(({ name }) => !(artifact && name === "_tag"))
    .map(({ name, type }): Field => {
      const key = String(name)
      const isOptional = type.context?.isOptional === true
      const isNullable = membersOf(type).nullable
      const column = joined(prefix, artifact && key === "mediaType" ? "media_type" : key)
      const node = nodeOf(type, column, nullable || isOptional)
      // JSON of any shape may be null itself.
      const mayBeNull = isNullable || (node.kind === "column" && node.column.type === "json")
      return { key, node, whenNull: isOptional ? "absent" : mayBeNull ? "null" : "impossible" }
    })
  return { kind: "struct", fields, constants: artifact ? { _tag: "Artifact" } : {} }
}

/** The columns of several nodes, each name once; undefined when a name stands for two types. */
const merged = (nodes: ReadonlyArray<Node>): ReadonlyArray<Column> | undefined => {
  const byName = new Map<string, Column>()
  for (const column of nodes.flatMap(columnsOf)) {
    const other = byName.get(column.name)
    if (other !== undefined && (other.type !== column.type || other.list !== column.list)) return undefined
    byName.set(column.name, column)
  }
  return [...byName.values()]
}

const columnNode = (
  name: string,
  type: Column["type"],
  nullable: boolean,
  list: Column["list"] = "no",
): Node => ({
  kind: "column",
  column: { name: name === "" ? "value" : name, type, list, nullable },
})

/** The columns for a value of an encoded schema, their names beginning with `prefix`. */
export const nodeOf = (ast: SchemaAST.AST, prefix: string, within: boolean): Node => {
  const { members, nullable: isNullable } = membersOf(ast)
  const nullable = within || isNullable
  const json = columnNode(prefix, "json", true)
  const scalar = scalarType(members)
  if (scalar !== undefined) return columnNode(prefix, scalar, nullable)
  const [only, ...others] = members
  if (only === undefined) return json
  if (others.length === 0) {
    if (only._tag === "Arrays") {
      const elements = [...only.elements, ...only.rest].map(membersOf)
      const element = scalarType(elements.flatMap((each) => each.members))
      const list = elements.some((each) => each.nullable) ? "of nullable values" : "of values"
      return element === undefined ? json : columnNode(prefix, element, nullable, list)
    }
    return isStructLike(only) ? structNode(only, prefix, nullable) : json
  }
  const structs = members.filter(isStructLike)
  const tag = structs.length === members.length ? tagOf(structs) : undefined
  if (tag === undefined) return json
  const nodes = structs.map((member): [unknown, Node] => [
    literalOf(propertyOf(member, tag)),
    structNode(member, prefix, true),
  ])
  return merged(nodes.map(([, node]) => node)) === undefined
    ? json
    : { kind: "union", tag, members: new Map(nodes) }
}

/** Every column of a node, in order, a name shared by members of a union once. */
export const columnsOf = (node: Node): ReadonlyArray<Column> => {
  if (node.kind === "column") return [node.column]
  if (node.kind === "struct") return node.fields.flatMap((field) => columnsOf(field.node))
  return merged([...node.members.values()]) ?? []
}

/** Calls `put` for every column of a node that the encoded value fills; what is not put is null. */
export const flatten = (node: Node, value: unknown, put: (column: string, value: unknown) => void): void => {
  if (value === null || value === undefined) return
  if (node.kind === "column") return put(node.column.name, value)
  if (!isObject(value)) return
  if (node.kind === "union") {
    const member = node.members.get(value[node.tag])
    if (member !== undefined) flatten(member, value, put)
    return
  }
  for (const field of node.fields) flatten(field.node, value[field.key], put)
}

/**
 * The encoded value back from a row of columns; undefined when every column of it is null, unless it is a struct
 * that is `required`.
 */
export const unflatten = (node: Node, row: JsonObject, required: boolean): unknown => {
  if (node.kind === "column") {
    const value = row[node.column.name] ?? undefined
    return node.column.type === "double" ? toJsonNumber(value) : value
  }
  if (node.kind === "union") {
    for (const [literal, member] of node.members) {
      const value = unflatten(member, row, false)
      if (isObject(value) && value[node.tag] === literal) return value
    }
    return undefined
  }
  const value: Record<string, unknown> = {}
  let isEmpty = true
  for (const field of node.fields) {
    const inner = unflatten(field.node, row, field.whenNull === "impossible" && required)
    if (inner !== undefined) {
      value[field.key] = inner
      isEmpty = false
    } else if (field.whenNull === "null") {
      value[field.key] = null
    }
  }
  return isEmpty && !required ? undefined : { ...node.constants, ...value }
}

const physical: Record<Column["type"], Omit<SchemaElement, "name" | "repetition_type">> = {
  string: { type: "BYTE_ARRAY", converted_type: "UTF8", logical_type: { type: "STRING" } },
  json: { type: "BYTE_ARRAY", converted_type: "JSON", logical_type: { type: "JSON" } },
  int32: { type: "INT32" },
  int64: { type: "INT64" },
  double: { type: "DOUBLE" },
  boolean: { type: "BOOLEAN" },
}

/** The Parquet schema elements of a column. */
export const elementsOf = ({ name, type, list, nullable }: Column): ReadonlyArray<SchemaElement> => {
  const repetition_type = nullable ? "OPTIONAL" : "REQUIRED"
  if (list === "no") return [{ name, ...physical[type], repetition_type }]
  return [
    { name, repetition_type, num_children: 1, converted_type: "LIST", logical_type: { type: "LIST" } },
    { name: "list", repetition_type: "REPEATED", num_children: 1 },
    {
      name: "element",
      ...physical[type],
      repetition_type: list === "of values" ? "REQUIRED" : "OPTIONAL",
    },
  ]
}

const toParquetScalar = ({ name, type }: Column, value: unknown): unknown => {
  if (type === "json" || value === null || value === undefined) return value
  if (type === "double" && typeof value === "string") return Number(value)
  const expected = type === "string" || type === "boolean" ? type : "number"
  if (typeof value !== expected) throw new TypeError(`${name} is ${typeof value}, expected ${expected}`)
  return type === "int64" ? BigInt(Number(value)) : value
}

/**
 * An encoded value as the Parquet writer takes it: 64-bit integers as bigint, non-finite numbers as numbers.
 * Throws a TypeError for a value of another type.
 */
export const toParquet = (column: Column, value: unknown): unknown => {
  if (column.list === "no") return toParquetScalar(column, value)
  if (!Array.isArray(value)) throw new TypeError(`${column.name} is ${typeof value}, expected an array`)
  return value.map((element) => toParquetScalar(column, element))
}

const isSafe = (value: bigint): boolean =>
  value >= BigInt(Number.MIN_SAFE_INTEGER) && value <= BigInt(Number.MAX_SAFE_INTEGER)

/** What the Parquet reader gives as plain values: integers as numbers where exact. */
export const fromParquet = (value: unknown): unknown => {
  if (typeof value === "bigint") return isSafe(value) ? Number(value) : value
  if (value === null || value === undefined) return null
  if (Array.isArray(value)) return value.map(fromParquet)
  return value
}

/** A non-finite number as the JSON encoding has it. */
const toJsonNumber = (value: unknown): unknown => {
  if (typeof value === "number" && !Number.isFinite(value)) return String(value)
  return Array.isArray(value) ? value.map(toJsonNumber) : value
}
