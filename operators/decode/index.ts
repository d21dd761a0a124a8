export { Decode } from "./decode.ts"
