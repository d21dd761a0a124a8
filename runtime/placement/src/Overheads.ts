/**
 * What a cluster adds to the work itself: latencies, the sizes of what is handed out, the driver's own time, and how
 * often things are lost. Measured on a cluster and set in its profile file; the defaults are those of an idle
 * controller on one machine.
 */
import * as Effect from "effect/Effect"
import * as Schema from "effect/Schema"

const Seconds = Schema.Finite.check(Schema.isGreaterThanOrEqualTo(0))
const Positive = Schema.Finite.check(Schema.isGreaterThan(0))

const seconds = (value: number) => Seconds.pipe(Schema.withDecodingDefaultKey(Effect.succeed(value)))
const positive = (value: number) => Positive.pipe(Schema.withDecodingDefaultKey(Effect.succeed(value)))

export const Overheads = Schema.Struct({
  /** From a submission until the task can start on a node that is free. @default 1 */
  submitSeconds: seconds(1),
  /** Tasks that Slurm starts a second, all pools together. @default 100 */
  startsPerSecond: positive(100),
  /** From the start of a task until its first call, without the loading of models. @default 1 */
  workerStartSeconds: seconds(1),
  /**
   * Of that, and of the loading of models, what all workers that start at once share: a file server, or the cores of
   * one machine. So long does it take of a worker that starts alone; of `n` together, each is through after `n` times
   * as long, and no sooner than after its own seconds. @default 0
   */
  startShareSeconds: seconds(0),
  /** Between two looks of the driver at what is committed, and between two at what it can submit. @default 0.3 */
  pollSeconds: seconds(0.3),
  /** Committing one shard, in its worker. @default 0.05 */
  commitSeconds: seconds(0.05),
  /** Between two results that a worker writes of a shard that is not through. @default 5 */
  flushSeconds: positive(5),
  /**
   * Between two looks at what waits in front of a node, before it is packed into shards: until no more comes, and ten
   * times at most. @default 0.3
   */
  lingerSeconds: seconds(0.3),
  /** How long a held worker waits for its next shard before it gives its place back. @default 60 */
  heldSeconds: seconds(60),
  /**
   * A shard has an even share of what waits when it is packed, but at least so many seconds of work, once results have
   * shown how long items take. @default 1
   */
  shardMinSeconds: seconds(1),
  /** And at most so many items. @default 4096 */
  shardItems: positive(4096),
  /** And at most so many seconds, unless one item takes longer. @default no limit: the driver knows none */
  shardMaxSeconds: Schema.optionalKey(Positive),
  /** Shards in one task of an array, one after another, at most. @default 8 */
  shardsPerTask: positive(8),
  /** Work in one task of an array, at most. @default no limit: the driver knows none */
  taskSeconds: Schema.optionalKey(Positive),
  /**
   * Tasks that wait in Slurm for a worker's place to become free, as a share of the workers. @default 0: the driver
   * submits a job when places are free
   */
  backlog: seconds(0),
  /** Items that wait in front of a node, beyond which the nodes that feed it get no more work. @default 65536 */
  queueItems: positive(65_536),
  /** The driver's own time for one result: looking it up, committing it, passing it on; one at a time. @default 0.00005 */
  driverSecondsPerItem: seconds(0.000_05),
  /** From the loss of a worker until its work can start again. @default 5 */
  lostSeconds: seconds(5),
  /** Mean hours between two failures of one node (MTBF). @default never */
  nodeFailureHours: Schema.optionalKey(Positive),
  /** Mean hours until a worker of a preemptible pool is taken away. @default never */
  preemptionHours: Schema.optionalKey(Positive),
})
export type Overheads = typeof Overheads.Type

export type Options = typeof Overheads.Encoded

/**
 * Overheads, the defaults where nothing is given.
 *
 * @throws SchemaError naming the field that is wrong
 */
export const make = (options: Options = {}): Overheads => Schema.decodeUnknownSync(Overheads)(options)

/** Nothing but the work: every item a shard of its own, handed out and passed on at once. */
export const none: Overheads = make({
  submitSeconds: 0,
  startsPerSecond: 1e12,
  workerStartSeconds: 0,
  startShareSeconds: 0,
  pollSeconds: 0,
  commitSeconds: 0,
  flushSeconds: 1e12,
  lingerSeconds: 0,
  heldSeconds: 0,
  shardMinSeconds: 0,
  shardItems: 1,
  shardsPerTask: 1,
  backlog: 0,
  driverSecondsPerItem: 0,
  lostSeconds: 0,
})
