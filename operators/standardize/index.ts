export { Standardize } from "./standardize.ts"
