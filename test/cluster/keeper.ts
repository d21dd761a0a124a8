/** Ends a cluster when whoever started it has gone, however it went: its end of our standard input is then closed. */
import { end } from "./Processes.ts"

const folder = process.argv[2]!
process.on("SIGINT", () => {})
process.on("SIGTERM", () => {})
process.stdin.resume()
process.stdin.once("close", () => void end(folder))
