/**
 * A Slurm of our own: munge, slurmctld, and nodes with GPUs that exist in name only, all of them on this machine and
 * below one temporary folder. Jobs really run. Several clusters can be up at once; each has its own ports, keys and
 * name. Needs Linux, root, and Debian's `slurm-wlm` and `munge`.
 */
import { type ChildProcess, execFile, execFileSync, spawn } from "node:child_process"
import { randomBytes } from "node:crypto"
import fs from "node:fs"
import { createServer, Socket } from "node:net"
import os from "node:os"
import { join } from "node:path"
import { setTimeout } from "node:timers/promises"
import { fileURLToPath } from "node:url"

import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Schema from "effect/Schema"

import * as Configuration from "./Configuration.ts"
import * as Processes from "./Processes.ts"

export type Options = Configuration.Options

const searched = ["/usr/local/sbin", "/usr/local/bin", "/usr/sbin", "/usr/bin", "/sbin", "/bin"]
const commands = ["munged", "slurmctld", "slurmd", "sbatch", "squeue", "scontrol", "sinfo", "mknod"]

const whyNot = (): string | undefined => {
  if (process.platform !== "linux") return "Slurm runs on Linux only"
  if (process.getuid!() !== 0) return "its daemons need root here"
  const missing = commands.filter((name) => !searched.some((folder) => fs.existsSync(join(folder, name))))
  return missing.length === 0
    ? undefined
    : `${missing.join(", ")} not found: apt-get install --no-install-recommends slurm-wlm munge`
}

/** Why there can be no cluster here; nothing when there can. */
export const unavailable: string | undefined = whyNot()

/** Whether a cluster can be brought up here. */
export const available: boolean = unavailable === undefined

/** The cluster did not come up, or a command of it failed. */
export class ClusterError extends Schema.TaggedError<ClusterError>()("ClusterError", {
  what: Schema.String,
  said: Schema.String,
}) {
  override get message() {
    return `${this.what}: ${this.said}`
  }
}

const keeper = fileURLToPath(new URL("./keeper.ts", import.meta.url))

/** A port that is free now, and that the system gives only on request by number. */
const freePort = async (taken: ReadonlySet<number>): Promise<number> => {
  for (;;) {
    const port = 10_000 + (randomBytes(2).readUInt16LE() % 22_000)
    if (taken.has(port)) continue
    const free = await new Promise<boolean>((resolve) => {
      const server = createServer()
      server.once("error", () => resolve(false))
      server.listen(port, "0.0.0.0", () => server.close(() => resolve(true)))
    })
    if (free) return port
  }
}

const freePorts = async (count: number): Promise<ReadonlyArray<number>> => {
  const ports = new Set<number>()
  while (ports.size < count) ports.add(await freePort(ports))
  return [...ports]
}

const writeFolder = (configuration: Configuration.Configuration): void => {
  const { folder } = configuration
  fs.chmodSync(folder, 0o755)
  for (const name of ["etc", "munge", "state", "log", "run", "dev"]) fs.mkdirSync(join(folder, name))
  for (const node of Configuration.nodes(configuration))
    fs.mkdirSync(join(folder, "spool", node), { recursive: true })
  for (const [name, text] of Object.entries(Configuration.files(configuration)))
    fs.writeFileSync(join(folder, "etc", name), text)
  fs.writeFileSync(join(folder, "munge", "key"), randomBytes(1024), { mode: 0o400 })
  // slurmd passes only devices on to jobs. 195 is the number of NVIDIA's; these are never opened.
  if (configuration.gpuNodes > 0)
    for (let gpu = 0; gpu < configuration.gpusPerNode; gpu++)
      execFileSync("mknod", ["-m", "666", join(folder, "dev", `nvidia${gpu}`), "c", "195", String(gpu)])
}

/** Daemons of a cluster, and how to talk to it. */
class Daemons {
  readonly configuration: Configuration.Configuration
  readonly environment: Readonly<Record<string, string>>
  readonly #running = new Map<string, ChildProcess>()

  constructor(configuration: Configuration.Configuration) {
    this.configuration = configuration
    this.environment = {
      PATH: searched.join(":"),
      HOME: os.homedir(),
      LANG: "C.UTF-8",
      SLURM_CONF: Configuration.slurmConf(configuration.folder),
    }
  }

  start(name: string, command: string, args: ReadonlyArray<string>): void {
    const { folder } = this.configuration
    const log = fs.openSync(join(folder, "log", `${name}.out`), "a")
    const child = spawn(command, args, {
      cwd: folder,
      detached: true,
      env: { ...this.environment, [Processes.clusterVariable]: folder },
      stdio: ["ignore", log, log],
    })
    child.once("error", (cause) =>
      fs.appendFileSync(join(folder, "log", `${name}.out`), `${cause.message}\n`),
    )
    child.unref()
    fs.closeSync(log)
    this.#running.set(name, child)
  }

  munge(): void {
    const at = join(this.configuration.folder, "munge")
    const socket = Configuration.mungeSocket(this.configuration.folder)
    const mine = { "key-file": "key", "pid-file": "pid", "seed-file": "seed", "log-file": "log" }
    const files = Object.entries(mine).map(([option, file]) => `--${option}=${at}/${file}`)
    this.start("munged", "munged", [
      "--foreground",
      "--force",
      "--num-threads=2",
      `--socket=${socket}`,
      ...files,
    ])
  }

  controller(): void {
    this.start("slurmctld", "slurmctld", ["-D"])
  }

  node(name: string): void {
    this.start(`slurmd.${name}`, "slurmd", ["-D", "-N", name])
  }

  signal(name: string, signal: NodeJS.Signals): void {
    const pid = this.#running.get(name)?.pid
    if (pid !== undefined) Processes.signal(pid, signal)
  }

  /** Ends a daemon and waits until it has gone. */
  async stop(name: string, signal: NodeJS.Signals): Promise<void> {
    const child = this.#running.get(name)
    if (child?.pid === undefined || child.exitCode !== null || child.signalCode !== null) return
    const gone = new Promise((resolve) => child.once("exit", resolve))
    child.kill(signal)
    await gone
  }

  run(command: string, args: ReadonlyArray<string>): Promise<string> {
    return new Promise((resolve, reject) => {
      const options = { env: this.environment, timeout: 30_000, maxBuffer: 2 ** 26 }
      execFile(command, args, options, (cause, stdout, stderr) => {
        if (cause === null) resolve(stdout)
        else
          reject(
            new ClusterError({ what: [command, ...args].join(" "), said: stderr.trim() || cause.message }),
          )
      })
    })
  }

  /** Waits until something is so. */
  async until(what: string, holds: () => Promise<boolean>, ms = 30_000): Promise<void> {
    for (const last = performance.now() + ms; ; await setTimeout(50)) {
      if (await holds().catch(() => false)) return
      if (performance.now() > last)
        throw new ClusterError({ what: `waiting for ${what}`, said: this.#logs() })
    }
  }

  /** Waits until the controller answers; it reports itself as soon as it is up. */
  controllerUp(): Promise<void> {
    return this.until("the controller", async () => (await this.run("scontrol", ["ping"])).includes("is UP"))
  }

  /** Waits until nodes are ready for jobs. */
  nodesUp(names: ReadonlyArray<string>): Promise<void> {
    return this.until(`nodes ${names.join(", ")}`, async () => {
      const states = (await this.run("sinfo", ["-h", "-N", "-n", names.join(","), "-o", "%N %T"])).trim()
      const ready = new Set(
        states
          .split("\n")
          .filter((line) => /^\S+ (idle|mixed|allocated)$/u.test(line))
          .map((line) => line.split(" ")[0]),
      )
      return names.every((name) => ready.has(name))
    })
  }

  #logs(): string {
    const at = join(this.configuration.folder, "log")
    return fs
      .readdirSync(at)
      .map(
        (file) =>
          `${file}: ${fs.readFileSync(join(at, file), "utf8").trim().split("\n").slice(-3).join(" | ")}`,
      )
      .join("\n")
  }
}

const bringUp = async (options: Options, begun: (folder: string) => void): Promise<Daemons> => {
  const filled = { ...Configuration.defaults, ...options }
  const folder = fs.mkdtempSync(join(os.tmpdir(), "reelgraph-slurm-"))
  begun(folder)
  // Sockets of job steps lie below the folder, and their paths have at most 107 bytes.
  if (folder.length > 60)
    throw new ClusterError({
      what: folder,
      said: "the path is too long for sockets: set TMPDIR to a short one",
    })
  const [controllerPort, ...nodePorts] = await freePorts(1 + Configuration.nodes(filled).length)
  const name = `reel${randomBytes(4).toString("hex")}`
  const daemons = new Daemons({ ...filled, folder, name, controllerPort: controllerPort!, nodePorts })
  try {
    writeFolder(daemons.configuration)
    daemons.munge()
    await daemons.until("munge", async () => fs.existsSync(Configuration.mungeSocket(folder)))
    daemons.controller()
    await daemons.controllerUp()
    const nodes = Configuration.nodes(filled)
    for (const node of nodes) daemons.node(node)
    await daemons.nodesUp(nodes)
    return daemons
  } catch (cause) {
    await Processes.end(folder)
    throw cause
  }
}

const start = async (options: Options, begun: (folder: string) => void): Promise<Daemons> => {
  // Somebody else may take a port between our choosing and using it.
  for (let tries = 1; ; tries++)
    try {
      return await bringUp(options, begun)
    } catch (cause) {
      if (tries === 3 || !String(cause).includes("in use")) throw cause
    }
}

/** Brings up a cluster that stays until {@link down}: for people. Gives its folder and what to export. */
export const up = async (
  options: Options = {},
): Promise<{ readonly folder: string; readonly slurmConf: string }> => {
  const { folder } = (await start(options, () => {})).configuration
  return { folder, slurmConf: Configuration.slurmConf(folder) }
}

/** Ends the cluster of a folder, and all of its jobs. */
export const down = (folder: string): Promise<void> => Processes.end(folder)

const attempt = <A>(work: () => Promise<A>): Effect.Effect<A, ClusterError> =>
  Effect.tryPromise({
    try: work,
    catch: (cause) =>
      cause instanceof ClusterError ? cause : new ClusterError({ what: "cluster", said: String(cause) }),
  })

/** A cluster that is up. */
export class Cluster extends Context.Service<
  Cluster,
  {
    readonly folder: string
    /** The environment of a client: `SLURM_CONF`, and a `PATH` with Slurm's commands. */
    readonly environment: Readonly<Record<string, string>>
    readonly nodes: ReadonlyArray<string>
    /** Standard output of one of Slurm's commands. */
    readonly run: (command: string, ...args: ReadonlyArray<string>) => Effect.Effect<string, ClusterError>
    /** Kills the slurmd of a node. Slurm takes a while to notice, and jobs of the node run on. */
    readonly killNode: (node: string) => Effect.Effect<void, ClusterError>
    /** Starts the slurmd of a node, and waits until the node is ready. */
    readonly startNode: (node: string) => Effect.Effect<void, ClusterError>
    /** Stops the controller as a machine without an answer would: connections open, nothing comes back. */
    readonly pauseController: Effect.Effect<void>
    readonly resumeController: Effect.Effect<void>
    /** Ends the controller in good order: what it knows is written down. */
    readonly stopController: Effect.Effect<void, ClusterError>
    /** Kills the controller: it forgets what it has not yet written down, which may be seconds of jobs. */
    readonly killController: Effect.Effect<void, ClusterError>
    /** Starts a controller with the state that the last one saved, and waits until it answers. */
    readonly startController: Effect.Effect<void, ClusterError>
    /** Daemons, and what jobs have started. */
    readonly processes: Effect.Effect<ReadonlyArray<Processes.Process>>
  }
>()("reelgraph/test/Cluster") {}

/** Has a process of its own end the cluster of a folder when this one has gone, or when what it returns is called. */
const keep = (folder: string): (() => void) => {
  const keeping = spawn(process.execPath, [keeper, folder], {
    cwd: "/",
    detached: true,
    stdio: ["pipe", "ignore", "ignore"],
  })
  keeping.unref()
  // The pipe stays open for as long as this process lives, and does not prolong that.
  if (keeping.stdin instanceof Socket) keeping.stdin.unref()
  return () => keeping.stdin.destroy()
}

/** A cluster for as long as the layer is open, or the process that opened it lives. */
export const layer = (options: Options = {}): Layer.Layer<Cluster, ClusterError> =>
  Layer.effect(
    Cluster,
    Effect.gen(function* () {
      const kept: Array<() => void> = []
      yield* Effect.addFinalizer(() => Effect.sync(() => kept.forEach((release) => release())))
      const daemons = yield* Effect.acquireRelease(
        attempt(() => start(options, (folder) => kept.push(keep(folder)))),
        ({ configuration }) => Effect.promise(() => Processes.end(configuration.folder)),
      )
      const { folder } = daemons.configuration
      return Cluster.of({
        folder,
        environment: daemons.environment,
        nodes: Configuration.nodes(daemons.configuration),
        run: (command, ...args) => attempt(() => daemons.run(command, args)),
        killNode: (node) => attempt(() => daemons.stop(`slurmd.${node}`, "SIGKILL")),
        startNode: (node) =>
          attempt(async () => {
            daemons.node(node)
            await daemons.nodesUp([node])
          }),
        pauseController: Effect.sync(() => daemons.signal("slurmctld", "SIGSTOP")),
        resumeController: Effect.sync(() => daemons.signal("slurmctld", "SIGCONT")),
        stopController: attempt(() => daemons.stop("slurmctld", "SIGTERM")),
        killController: attempt(() => daemons.stop("slurmctld", "SIGKILL")),
        startController: attempt(async () => {
          daemons.controller()
          await daemons.controllerUp()
        }),
        processes: Effect.sync(() => Processes.ofCluster(folder)),
      })
    }),
  )
