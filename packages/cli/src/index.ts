export * as Main from "./Main.ts"
export * as RunReport from "./RunReport.ts"
export * as TerminalOutput from "./TerminalOutput.ts"
