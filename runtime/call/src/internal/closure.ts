/**
 * The values that a function has captured from the functions around it, such as the arguments of a factory: two
 * functions of one text differ by them. V8 tells of them by the protocol of its inspector, within this process.
 *
 * What is told are values that do not change: names that the modules never assign to, holding texts, numbers, plain data
 * and functions. Of other objects only the class counts. Variables of modules do not: they are part of the modules.
 */
import { createRequire } from "node:module"

import { Digest } from "@reelgraph/core"

import type { Syntax } from "./moduleSyntax.ts"

/** Values that are told of at most, and functions within functions. */
const valuesAtMost = 5000
const depthAtMost = 5

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
  /** Whether a name is never assigned to, nor what it holds changed. */
  readonly isConstant: (name: string) => boolean
}

/** A digest of what a function has captured; undefined: nothing. */
export const of = (captured: Function, reading: Reading): string | undefined => {
  const inspector = createRequire(import.meta.url)("node:inspector") as typeof import("node:inspector")
  const session = new inspector.Session()
  try {
    session.connect()
    const told = new Telling(session, reading).function(captured, 0)
    return told === "" ? undefined : Digest.ofBytes(told)
  } catch {
    // Where there is no inspector, functions are known by their text.
    return undefined
  } finally {
    session.disconnect()
  }
}

const holder = Symbol.for("reelgraph/call/closure")
const held = globalThis as { [holder]?: unknown }

class Telling {
  readonly #session: import("node:inspector").Session
  readonly #reading: Reading
  readonly #met = new Set<unknown>()
  #left = valuesAtMost

  constructor(session: import("node:inspector").Session, reading: Reading) {
    this.#session = session
    this.#reading = reading
  }

  /** What a function has captured, as a text. */
  function(captured: Function, depth: number): string {
    if (depth > depthAtMost || this.#met.has(captured)) return ""
    this.#met.add(captured)
    const names = new Set(this.#reading.bodyOf(Function.prototype.toString.call(captured)).names)
    const lines: Array<string> = []
    for (const [name, value] of this.#variables(captured))
      if (names.has(name) && this.#reading.isConstant(name))
        lines.push(`${name}=${this.#value(value, depth + 1)}`)
    return lines.sort().join("\n")
  }

  #value(value: unknown, depth: number): string {
    if (this.#left-- <= 0) return "..."
    switch (typeof value) {
      case "function": {
        const { digest } = this.#reading.bodyOf(Function.prototype.toString.call(value))
        return `function ${digest} {${this.function(value as Function, depth)}}`
      }
      case "object":
        return value === null ? "null" : this.#object(value, depth)
      case "symbol":
        return "symbol"
      default:
        return `${typeof value} ${Object.is(value, -0) ? "-0" : String(value)}`
    }
  }

  #object(value: object, depth: number): string {
    if (this.#met.has(value)) return "again"
    this.#met.add(value)
    // What a module exports is known by the module.
    if ((value as { readonly [Symbol.toStringTag]?: unknown })[Symbol.toStringTag] === "Module")
      return "a module"
    const prototype: unknown = Object.getPrototypeOf(value)
    if (Array.isArray(value)) return `[${value.map((one) => this.#value(one, depth)).join(",")}]`
    if (prototype === null || prototype === Object.prototype)
      return `{${Object.keys(value)
        .sort()
        .map((key) => {
          const { value: inner } = Object.getOwnPropertyDescriptor(value, key)!
          return `${JSON.stringify(key)}:${this.#value(inner, depth)}`
        })
        .join(",")}}`
    return `a ${(value as { readonly constructor?: { readonly name?: string } }).constructor?.name ?? "?"}`
  }

  /** The variables of the functions around a function, the nearest first. */
  *#variables(captured: Function): Generator<readonly [name: string, value: unknown]> {
    const scopes = this.#scopesOf(captured)
    const met = new Set<string>()
    for (const scope of scopes) {
      const { objectId, description = "" } = scope.value ?? {}
      if (objectId === undefined || !/^(Block|Closure|Catch|With|Local)/.test(description)) continue
      for (const { name, value } of this.#properties(objectId).result) {
        if (value === undefined || met.has(name)) continue
        met.add(name)
        yield [name, this.#local(value)]
      }
    }
  }

  #scopesOf(captured: Function): ReadonlyArray<Remote> {
    held[holder] = captured
    const { result } = this.#post("Runtime.evaluate", {
      expression: `globalThis[Symbol.for("reelgraph/call/closure")]`,
    }) as { readonly result: { readonly objectId: string } }
    delete held[holder]
    const { internalProperties } = this.#properties(result.objectId)
    const scopes = internalProperties?.find(({ name }) => name === "[[Scopes]]")?.value?.objectId
    return scopes === undefined ? [] : this.#properties(scopes).result
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
