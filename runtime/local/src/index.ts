export * as LocalWorkers from "./LocalWorkers.ts"
