/**
 * What one record schema asks for and another does not promise, by their JSON schemas: enough to say which
 * field keeps two ports of erased types from connecting. Where JSON schemas cannot tell (unions, patterns,
 * bounds), nothing is said.
 */
import * as Schema from "effect/Schema"

interface JsonSchema {
  readonly $ref?: string
  readonly type?: string
  readonly enum?: ReadonlyArray<unknown>
  readonly properties?: { readonly [name: string]: JsonSchema }
  readonly required?: ReadonlyArray<string>
  readonly items?: JsonSchema
}

interface Document {
  readonly schema: JsonSchema
  readonly definitions: { readonly [name: string]: JsonSchema }
}

const documents = new WeakMap<object, Document>()

const documentOf = (record: Schema.Codec<any, any>): Document => {
  let document = documents.get(record)
  if (document === undefined) {
    document = Schema.toJsonSchemaDocument(record)
    documents.set(record, document)
  }
  return document
}

const resolve = (schema: JsonSchema, { definitions }: Document): JsonSchema => {
  const name = schema.$ref
    ?.replace(/^#\/\$defs\//, "")
    .replaceAll("~1", "/")
    .replaceAll("~0", "~")
  return (name === undefined ? undefined : definitions[name]) ?? schema
}

/** `fps is missing`, `crop.width may be absent`, `id is a number, not a string`: one text for each field. */
export const mistakes = (
  given: Schema.Codec<any, any>,
  taken: Schema.Codec<any, any>,
): ReadonlyArray<string> => {
  const out: Array<string> = []
  const [from, to] = [documentOf(given), documentOf(taken)]
  compare("", from.schema, to.schema, from, to, 0, out)
  return out
}

const compare = (
  path: string,
  given: JsonSchema,
  taken: JsonSchema,
  from: Document,
  to: Document,
  depth: number,
  out: Array<string>,
): void => {
  // Recursive schemas come back to themselves.
  if (depth > 8) return
  const has = resolve(given, from)
  const wants = resolve(taken, to)
  if (has.type === undefined || wants.type === undefined) return
  if (has.type !== wants.type && !(has.type === "integer" && wants.type === "number")) {
    out.push(`${path === "" ? "it" : path} is ${article(has.type)}, not ${article(wants.type)}`)
    return
  }
  if (wants.enum !== undefined && has.enum !== undefined) {
    const others = has.enum.filter((value) => !wants.enum!.includes(value))
    if (others.length > 0)
      out.push(`${path} may be ${others.map((value) => JSON.stringify(value)).join(", ")}`)
  }
  for (const [name, wanted] of Object.entries(wants.properties ?? {})) {
    const inner = path === "" ? name : `${path}.${name}`
    const found = has.properties !== undefined && Object.hasOwn(has.properties, name) && has.properties[name]
    if (found) compare(inner, found, wanted, from, to, depth + 1, out)
    if (!wants.required?.includes(name)) continue
    if (!found) out.push(`${inner} is missing`)
    else if (!has.required?.includes(name)) out.push(`${inner} may be absent`)
  }
  if (wants.items !== undefined && has.items !== undefined)
    compare(`${path}[]`, has.items, wants.items, from, to, depth + 1, out)
}

const article = (type: string): string => (/^[aeiou]/.test(type) ? `an ${type}` : `a ${type}`)
