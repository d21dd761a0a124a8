export { Journal, JournalError, JournalNewer, RunStatus, Status } from "./Journal.ts"
export type * from "./Journal.ts"
export * as JournalSqlite from "./JournalSqlite.ts"
