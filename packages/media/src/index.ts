export * as MediaError from "./MediaError.ts"
export * as Probe from "./Probe.ts"
