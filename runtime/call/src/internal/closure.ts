/**
 * The values that a function has captured from the functions around it, such as the arguments of a factory: two
 * functions of one text differ by them. V8 tells of them by the protocol of its inspector, within this process.
 *
 * What is told are values that have settled: no function within the one that declares them changes them. Variables of
 * modules are not among them: they are part of the modules.
 */
import { createRequire } from "node:module"

import { Digest } from "@reelgraph/core"

import type { Syntax } from "./moduleSyntax.ts"

/** Values that are told of at most, and functions within functions. */
const valuesAtMost = 20_000
const depthAtMost = 16
/** Within an instance of a class, which may lead to all of a runtime: what is deeper is its own affair. */
const depthInInstance = 4

/** A property as the protocol tells of it. */
interface Remote {
  readonly name: string
  readonly value?: {
    readonly type: string
    readonly subtype?: string
    readonly value?: unknown
    /** Of numbers and bigints that JSON cannot hold: `-0`, `NaN`, `5n`. */
    readonly unserializableValue?: string
    readonly objectId?: string
    readonly description?: string
  }
}

type Function = (...args: ReadonlyArray<never>) => unknown

export interface Reading {
  /** The syntax of a function's text: which names it uses. */
  readonly bodyOf: (text: string) => Syntax
  /** Whether a variable of a function has settled when the function returns. */
  readonly isSettled: (functionName: string, variable: string) => boolean
}

export interface Captured {
  /** Undefined: nothing was captured. */
  readonly digest: string | undefined
  /** Whether that is all of it. */
  readonly whole: boolean
}

/** What a function has captured. */
export const of = (captured: Function, reading: Reading): Captured => {
  const inspector = createRequire(import.meta.url)("node:inspector") as typeof import("node:inspector")
  const session = new inspector.Session()
  try {
    session.connect()
    const telling = new Telling(session, reading)
    const told = telling.function(captured, 0)
    return { digest: told === "" ? undefined : Digest.ofBytes(told), whole: telling.whole }
  } catch {
    // Where there is no inspector, functions are known by their text.
    return { digest: undefined, whole: false }
  } finally {
    session.disconnect()
  }
}

/** What a module exports is known by the module. */
const isModule = (value: unknown): boolean =>
  typeof value === "object" &&
  value !== null &&
  (value as { readonly [Symbol.toStringTag]?: unknown })[Symbol.toStringTag] === "Module"

const isArrow = /^(?:async\s*)?(?:\([^)]*\)|[\w$]+)\s*=>/

const holder = Symbol.for("reelgraph/call/closure")
const held = globalThis as { [holder]?: unknown }

class Telling {
  whole = true
  readonly #session: import("node:inspector").Session
  readonly #reading: Reading
  readonly #met = new Map<unknown, number>()
  /** How deep the instance of a class is that it is within. */
  #instance: number | undefined

  constructor(session: import("node:inspector").Session, reading: Reading) {
    this.#session = session
    this.#reading = reading
  }

  /** What a function has captured, as a text. */
  function(captured: Function, depth: number): string {
    const text = Function.prototype.toString.call(captured)
    const names = new Set(this.#reading.bodyOf(text).names)
    // The protocol has no name for the `this` that an arrow function captured.
    if (names.has("this") && this.#instance === undefined && isArrow.test(text.slice(0, 2000)))
      this.whole = false
    const lines: Array<string> = []
    const { bound, variables } = this.#around(captured)
    for (const [name, value] of variables)
      if (names.has(name) && !isModule(value)) lines.push(`${name}=${this.#value(value, depth + 1)}`)
    for (const [name, value] of bound) lines.push(`${name}=${this.#value(value, depth + 1)}`)
    for (const key of Object.keys(captured)) lines.push(`.${key}=${this.#member(captured, key, depth)}`)
    return lines.sort().join("\n")
  }

  #value(value: unknown, depth: number): string {
    switch (typeof value) {
      case "function":
      case "object":
        return value === null ? "null" : this.#reference(value, depth)
      case "symbol":
        return `symbol ${value.description ?? ""}`
      default:
        return `${typeof value} ${JSON.stringify(Object.is(value, -0) ? "-0" : String(value))}`
    }
  }

  #reference(value: object, depth: number): string {
    const before = this.#met.get(value)
    if (before !== undefined) return `#${before}`
    this.#met.set(value, this.#met.size)
    if (this.#instance !== undefined && depth - this.#instance > depthInInstance) return "..."
    if (this.#met.size > valuesAtMost || depth > depthAtMost) {
      this.whole = false
      return "..."
    }
    if (typeof value !== "function") return this.#object(value, depth)
    const { digest } = this.#reading.bodyOf(Function.prototype.toString.call(value))
    // Operators and schemas are functions with many properties; what made them is part of the modules.
    return `function ${digest} {${this.function(value as Function, depth)}}`
  }

  #object(value: object, depth: number): string {
    if (isModule(value)) return "a module"
    const each = (values: Iterable<unknown>) =>
      [...values].map((one) => this.#value(one, depth + 1)).join(",")
    if (Array.isArray(value)) return `[${each(value)}]`
    if (value instanceof Date) return `date ${value.getTime()}`
    if (value instanceof RegExp) return `regex ${String(value)}`
    if (value instanceof Map) return `map [${each([...value].flat())}]`
    if (value instanceof Set) return `set [${each(value)}]`
    if (ArrayBuffer.isView(value))
      return `bytes ${Digest.ofBytes(new Uint8Array(value.buffer, value.byteOffset, value.byteLength))}`
    const prototype: unknown = Object.getPrototypeOf(value)
    const isInstance = prototype !== null && prototype !== Object.prototype
    const outer = this.#instance
    if (isInstance) this.#instance ??= depth
    const name = (value as { readonly constructor?: { readonly name?: string } }).constructor?.name ?? ""
    const members = Object.keys(value)
      .sort()
      .map((key) => `${JSON.stringify(key)}:${this.#member(value, key, depth)}`)
    const privates = isInstance ? this.#privates(value, depth) : []
    this.#instance = outer
    return `${name}{${[...members, ...privates].join(",")}}`
  }

  /** What a property holds; what a getter computes is not asked for. */
  #member(of: object, key: string, depth: number): string {
    const found = Object.getOwnPropertyDescriptor(of, key)
    return found === undefined || found.get !== undefined ? "computed" : this.#value(found.value, depth + 1)
  }

  /** Private fields of an instance of a class. */
  #privates(value: object, depth: number): ReadonlyArray<string> {
    const { privateProperties = [] } = this.#properties(this.#remote(value))
    return privateProperties.map(
      ({ name, value: held }) =>
        `${name}:${held === undefined ? "computed" : this.#value(this.#local(held), depth + 1)}`,
    )
  }

  /** The variables of the functions around a function, the nearest first, and what it is bound to. */
  #around(captured: Function) {
    const { internalProperties = [] } = this.#properties(this.#remote(captured))
    const variables: Array<readonly [name: string, value: unknown]> = []
    const bound: Array<readonly [name: string, value: unknown]> = []
    for (const { name, value } of internalProperties) {
      if (value === undefined) continue
      if (/^\[\[(TargetFunction|BoundThis|BoundArgs)\]\]$/.test(name)) bound.push([name, this.#local(value)])
      if (name !== "[[Scopes]]" || value.objectId === undefined) continue
      const met = new Set<string>()
      for (const scope of this.#properties(value.objectId).result) {
        const { objectId, description = "" } = scope.value ?? {}
        const kind = /^(?:Block|Closure|Catch|With|Local)(?: \((.*)\))?$/s.exec(description)
        if (objectId === undefined || kind === null) continue
        for (const { name: variable, value: held } of this.#properties(objectId).result) {
          if (held === undefined || met.has(variable)) continue
          met.add(variable)
          if (this.#reading.isSettled(kind[1] ?? "", variable)) variables.push([variable, this.#local(held)])
        }
      }
    }
    return { bound, variables }
  }

  /** What the protocol calls a value of this process. */
  #remote(value: object): string {
    held[holder] = value
    const { result } = this.#post("Runtime.evaluate", {
      expression: `globalThis[Symbol.for("reelgraph/call/closure")]`,
    }) as { readonly result: { readonly objectId: string } }
    delete held[holder]
    return result.objectId
  }

  /** The value itself: it is of this process. */
  #local({ objectId, unserializableValue, value }: NonNullable<Remote["value"]>): unknown {
    if (objectId === undefined) return unserializableValue ?? value
    this.#post("Runtime.callFunctionOn", {
      objectId,
      functionDeclaration: `function () { globalThis[Symbol.for("reelgraph/call/closure")] = this }`,
    })
    const local = held[holder]
    delete held[holder]
    return local
  }

  #properties(objectId: string) {
    return this.#post("Runtime.getProperties", { objectId, ownProperties: true }) as {
      readonly result: ReadonlyArray<Remote>
      readonly internalProperties?: ReadonlyArray<Remote>
      readonly privateProperties?: ReadonlyArray<Remote>
    }
  }

  /** Within one process the answer is there before `post` returns. */
  #post(method: string, params: object): unknown {
    let answer: unknown
    this.#session.post(method, params, (error, result: unknown) => {
      if (error !== null) throw new Error(error.message)
      answer = result
    })
    return answer
  }
}
