export * as ChangedCode from "./ChangedCode.ts"
export * as Engine from "./Engine.ts"
export * as Plan from "./Plan.ts"
export * as RunError from "./RunError.ts"
