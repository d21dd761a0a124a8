export * as LastWords from "./LastWords.ts"
export * as LocalWorkers from "./LocalWorkers.ts"
