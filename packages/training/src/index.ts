export * as Crops from "./Crops.ts"
export * as LatentSet from "./LatentSet.ts"
export * as TrainingRun from "./TrainingRun.ts"
