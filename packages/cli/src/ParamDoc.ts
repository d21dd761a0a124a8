/** What an operator's params are, for people: read from the JSON schema of its params. */
import { type Operator, Params } from "@reelgraph/core"
import * as Result from "effect/Result"
import * as Schema from "effect/Schema"

export interface ParamDoc {
  readonly name: string
  /** `integer, 1 to 5`, `one of "x", "y"` */
  readonly type: string
  readonly required: boolean
  /** JSON; absent: none, or not known without the required ones. */
  readonly default?: unknown
  readonly description?: string
}

interface JsonSchema {
  readonly type?: string
  readonly enum?: ReadonlyArray<unknown>
  readonly const?: unknown
  readonly anyOf?: ReadonlyArray<JsonSchema>
  readonly oneOf?: ReadonlyArray<JsonSchema>
  readonly allOf?: ReadonlyArray<JsonSchema>
  readonly items?: JsonSchema | false
  readonly prefixItems?: ReadonlyArray<JsonSchema>
  readonly properties?: { readonly [name: string]: JsonSchema }
  readonly additionalProperties?: JsonSchema | boolean
  readonly required?: ReadonlyArray<string>
  readonly minimum?: number
  readonly maximum?: number
  readonly exclusiveMinimum?: number
  readonly exclusiveMaximum?: number
  readonly minLength?: number
  readonly maxLength?: number
  readonly minItems?: number
  readonly maxItems?: number
  readonly pattern?: string
  readonly description?: string
  readonly $ref?: string
}

interface Document {
  readonly schema: JsonSchema
  readonly definitions: { readonly [name: string]: JsonSchema }
}

const documentOf = (operator: Operator.Any): Document => {
  const { definitions, schema } = Schema.toJsonSchemaDocument(operator.params) as unknown as Document
  return { schema: resolve(schema, definitions), definitions }
}

const resolve = (schema: JsonSchema, definitions: Document["definitions"]): JsonSchema => {
  let current = schema
  for (let hops = 0; current.$ref !== undefined && hops < 16; hops++) {
    const name = current.$ref
      .slice(current.$ref.lastIndexOf("/") + 1)
      .replaceAll("~1", "/")
      .replaceAll("~0", "~")
    current = definitions[name] ?? {}
  }
  return current
}

/** The params of an operator, required ones first as the schema lists them. */
export const describe = (operator: Operator.Any): ReadonlyArray<ParamDoc> => {
  const { definitions, schema } = documentOf(operator)
  const defaults = defaultsOf(operator, schema, definitions)
  return Object.entries(schema.properties ?? {}).map(([name, property]) => {
    const required = schema.required?.includes(name) ?? false
    const { description } = resolve(property, definitions)
    return {
      name,
      type: typeText(property, definitions),
      required,
      ...(!required && name in defaults ? { default: defaults[name] } : {}),
      ...(description === undefined ? {} : { description }),
    }
  })
}

/** What the param of a path such as `["a", "b"]` takes; nothing when there is no such param. */
export const typeAt = (operator: Operator.Any, path: ReadonlyArray<string>): string | undefined => {
  const { definitions, schema } = documentOf(operator)
  let current: JsonSchema | undefined = schema
  for (const name of path) current = current && propertyOf(resolve(current, definitions), name)
  return current === undefined ? undefined : typeText(current, definitions)
}

const propertyOf = (schema: JsonSchema, name: string): JsonSchema | undefined =>
  schema.properties?.[name] ??
  schema.anyOf?.map((one) => one.properties?.[name]).find((one) => one !== undefined) ??
  (typeof schema.additionalProperties === "object" ? schema.additionalProperties : undefined)

/** The values that params take when they are left out. */
const defaultsOf = (
  operator: Operator.Any,
  schema: JsonSchema,
  definitions: Document["definitions"],
): { readonly [param: string]: unknown } => {
  const needed = (schema.required ?? []).map((name) => [
    name,
    sample(schema.properties?.[name] ?? {}, definitions),
  ])
  const tried = Result.try(() => Params.resolve(operator, Object.fromEntries(needed)).json)
  return Result.isSuccess(tried) ? (tried.success as { readonly [param: string]: unknown }) : {}
}

/** Some value that a schema allows, to find out what fills in the rest. */
const sample = (given: JsonSchema, definitions: Document["definitions"]): unknown => {
  const schema = resolve(given, definitions)
  if (schema.const !== undefined) return schema.const
  if (schema.enum !== undefined) return schema.enum[0]
  const [first] = schema.anyOf ?? schema.oneOf ?? []
  if (first !== undefined) return sample(first, definitions)
  switch (schema.type) {
    case "integer":
    case "number": {
      const low =
        schema.minimum ?? (schema.exclusiveMinimum === undefined ? undefined : schema.exclusiveMinimum + 1)
      const high =
        schema.maximum ?? (schema.exclusiveMaximum === undefined ? undefined : schema.exclusiveMaximum - 1)
      return low ?? high ?? 1
    }
    case "string":
      return "x".repeat(Math.max(1, schema.minLength ?? 1))
    case "boolean":
      return false
    case "array":
      return Array.from({ length: schema.minItems ?? 0 }, () => sample(schema.items || {}, definitions))
    case "object":
      return Object.fromEntries(
        (schema.required ?? []).map((name) => [name, sample(schema.properties?.[name] ?? {}, definitions)]),
      )
    default:
      return null
  }
}

const noNumber = new Set<unknown>(["Infinity", "-Infinity", "NaN"])

/** A schema in words. */
const typeText = (given: JsonSchema, definitions: Document["definitions"], depth = 0): string => {
  const schema = resolve(given, definitions)
  if (depth > 3) return "..."
  const inner = (one: JsonSchema) => typeText(one, definitions, depth + 1)
  if (schema.const !== undefined) return JSON.stringify(schema.const)
  if (schema.enum !== undefined) {
    const values = schema.enum.map((value) => JSON.stringify(value))
    return values.length === 1 ? values[0]! : `one of ${values.join(", ")}`
  }
  const choices = schema.anyOf ?? schema.oneOf
  if (choices !== undefined) {
    const told = choices.filter((one) => !(one.enum?.every((value) => noNumber.has(value)) ?? false))
    return [...new Set(told.map(inner))].join(" or ")
  }
  const parts = [schema, ...(schema.allOf ?? [])]
  const bound = (pick: (one: JsonSchema) => number | undefined) =>
    parts.map(pick).find((one) => one !== undefined)
  switch (schema.type) {
    case "integer":
    case "number":
      return `${schema.type === "integer" ? "whole number" : "number"}${rangeText(bound)}`
    case "string": {
      const pattern = parts.map((one) => one.pattern).find((one) => one !== undefined)
      return `text${lengthText(
        bound((one) => one.minLength),
        bound((one) => one.maxLength),
        "character",
      )}${pattern === undefined ? "" : ` matching ${pattern}`}`
    }
    case "boolean":
      return "true or false"
    case "null":
      return "null"
    case "array":
      return `list of ${inner(schema.items || schema.prefixItems?.[0] || {})}${lengthText(
        bound((one) => one.minItems),
        bound((one) => one.maxItems),
        "element",
      )}`
    case "object":
      return schema.properties === undefined
        ? "object"
        : `{ ${Object.entries(schema.properties)
            .map(
              ([name, one]) => `${name}${schema.required?.includes(name) === true ? "" : "?"}: ${inner(one)}`,
            )
            .join(", ")} }`
    default:
      return "anything"
  }
}

const rangeText = (bound: (pick: (one: JsonSchema) => number | undefined) => number | undefined): string => {
  const least = bound((one) => one.minimum)
  const most = bound((one) => one.maximum)
  if (least !== undefined && most !== undefined) return `, ${least} to ${most}`
  const above = bound((one) => one.exclusiveMinimum)
  const below = bound((one) => one.exclusiveMaximum)
  const limits = [
    above === undefined ? "" : `above ${above}`,
    least === undefined ? "" : `at least ${least}`,
    below === undefined ? "" : `below ${below}`,
    most === undefined ? "" : `at most ${most}`,
  ].filter((limit) => limit !== "")
  return limits.length === 0 ? "" : `, ${limits.join(", ")}`
}

const lengthText = (least: number | undefined, most: number | undefined, unit: string): string => {
  if (least === undefined && most === undefined) return ""
  if (most === undefined) return least === 1 ? ", not empty" : `, at least ${least} ${unit}s`
  return `, ${least ?? 0} to ${most} ${unit}s`
}
