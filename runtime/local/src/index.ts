export * as Environment from "./Environment.ts"
export * as StderrTail from "./StderrTail.ts"
export * as LocalWorkers from "./LocalWorkers.ts"
