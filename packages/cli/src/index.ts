export * as Main from "./Main.ts"
export * as RunReport from "./RunReport.ts"
export * as Screen from "./Screen.ts"
