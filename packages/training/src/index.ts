export * as Crops from "./Crops.ts"
export * as TrainingRun from "./TrainingRun.ts"
