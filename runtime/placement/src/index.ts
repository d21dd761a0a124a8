export * as Placement from "./Placement.ts"
export * as Pool from "./Pool.ts"
export * as Pools from "./Pools.ts"
