export { AttachCaptions } from "./attachCaptions.ts"
