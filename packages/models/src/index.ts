export * as ModelWeights from "./ModelWeights.ts"
export * as Rope from "./Rope.ts"
export * as TransformerBlock from "./TransformerBlock.ts"
export * as VideoDiT from "./VideoDiT.ts"
