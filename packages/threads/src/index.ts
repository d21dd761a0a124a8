export * as ThreadClient from "./ThreadClient.ts"
export { ThreadLost } from "./ThreadClient.ts"
export * as ThreadServer from "./ThreadServer.ts"
