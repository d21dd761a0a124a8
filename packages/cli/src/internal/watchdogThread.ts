/** The thread of `Watchdog`. */
import { writeSync } from "node:fs"
import { Session } from "node:inspector"
import { parentPort, workerData } from "node:worker_threads"

const { restore, shared } = workerData as { readonly restore: string; readonly shared: Int32Array }
// As in `Watchdog`, which is more than this thread has to load.
const [beats, current] = [0, 1]
const stalled = "reelgraph:stalled"

/** How often it looks, and after how many milliseconds without a beat it does and says something. */
const lookMs = 250
const signalsAfterMs = 1500
const toldAfterMs = 5000

let nodes: ReadonlyArray<string> = []
parentPort!.on("message", (given: ReadonlyArray<string>) => void (nodes = given))
parentPort!.unref()

const session = new Session()
/** The debugger's way in is the only one: it is heard in the middle of a loop. */
const giveSignalsBack = (): void => {
  try {
    session.connectToMainThread()
  } catch {
    // It is connected already.
  }
  session.post("Runtime.evaluate", { expression: `process.emit(${JSON.stringify(stalled)})` }, () => {})
}

const tell = (text: string): void => {
  try {
    writeSync(2, text)
  } catch {
    // Nobody reads it.
  }
}

let seen = -1
let quietMs = 0
setInterval(() => {
  const now = Atomics.load(shared, beats)
  if (now !== seen) {
    if (quietMs >= signalsAfterMs) session.disconnect()
    seen = now
    quietMs = 0
    return
  }
  const before = quietMs
  quietMs += lookMs
  if (before < signalsAfterMs && quietMs >= signalsAfterMs) {
    giveSignalsBack()
    tell(restore)
  }
  if (before < toldAfterMs && quietMs >= toldAfterMs) {
    const node = nodes[shared[current]!]
    const who = node === undefined ? "a module" : `a call of ${node}`
    tell(
      `reel: ${who} has kept this process busy for ${toldAfterMs / 1000} s, and nothing else goes on meanwhile; Ctrl-C ends it at once. An operator with a \`worker\` runs in a process of its own\n`,
    )
  }
}, lookMs)
