export { EmbedCaptions } from "./embedCaptions.ts"
export { EncodeLatents } from "./encodeLatents.ts"
export { SampleFrames } from "./sampleFrames.ts"
