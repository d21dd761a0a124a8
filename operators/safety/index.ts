export { CheckPrompt } from "./checkPrompt.ts"
