export { Interpolate } from "./interpolate.ts"
