export * as MediaError from "./MediaError.ts"
export * as Probe from "./Probe.ts"
export * as Measure from "./Measure.ts"
export * as Shots from "./Shots.ts"
