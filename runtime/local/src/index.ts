export * as Environment from "./Environment.ts"
export * as LastWords from "./LastWords.ts"
export * as LocalWorkers from "./LocalWorkers.ts"
