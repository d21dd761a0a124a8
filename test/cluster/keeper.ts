/** Ends a cluster when the process that started it has gone, in whatever way: its end of our standard input is then closed. */
import { end } from "./Processes.ts"

const folder = process.argv[2]!
process.on("SIGINT", () => {})
process.on("SIGTERM", () => {})
process.stdin.resume()
process.stdin.once("close", () => void end(folder))
