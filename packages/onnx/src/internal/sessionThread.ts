/**
 * The thread that runs models: `session.run` blocks until it is done, so it never happens on the main thread.
 * Requests are answered in order.
 */
import { createRequire } from "node:module"

import * as ThreadServer from "@reelgraph/threads/ThreadServer"
import type * as Ort from "onnxruntime-node"

import type { Tensor } from "../Tensor.ts"
import { dtypeOf, fromOrt, toOrt } from "./ortTensor.ts"
import type { Declared, Failure, Open, Opened, Request, Response, Tensors } from "./protocol.ts"
import { assertDisjoint, TrainingState } from "./trainingState.ts"

// onnxruntime-node 1.30.0 makes Float16Arrays where there are any, and then reads no bytes from them.
Reflect.deleteProperty(globalThis, "Float16Array")

// A CommonJS package whose named exports Node does not see from a module.
const ort = createRequire(import.meta.url)("onnxruntime-node") as typeof Ort
const models = new Map<string, { readonly session: Ort.InferenceSession; readonly opened: Opened }>()
const state = new TrainingState(ort)

class Refused extends Error {
  readonly failure: Failure
  constructor(failure: Failure) {
    super(failure.problem)
    this.failure = failure
  }
}

const messageOf = (cause: unknown): string => (cause instanceof Error ? cause.message : String(cause))

const create = (source: Open["source"], options: Ort.InferenceSession.SessionOptions) =>
  "path" in source
    ? ort.InferenceSession.create(source.path, options)
    : ort.InferenceSession.create(source.bytes, options)

/** Only errors are logged: 3 is ORT_LOGGING_LEVEL_ERROR. Fewer spinning threads leave the cores to others. */
const optionsOf = (provider: string, threads: number): Ort.InferenceSession.SessionOptions => ({
  executionProviders: [provider],
  intraOpNumThreads: threads,
  interOpNumThreads: 1,
  executionMode: "sequential",
  graphOptimizationLevel: "all",
  logSeverityLevel: 3,
  extra: { session: { intra_op: { allow_spinning: "0" } } },
})

const declared = (
  side: string,
  metadata: ReadonlyArray<Ort.InferenceSession.ValueMetadata>,
): ReadonlyArray<Declared> =>
  metadata.map((value) => {
    const dtype = value.isTensor ? dtypeOf(value.type) : undefined
    if (!value.isTensor || dtype === undefined)
      throw new Refused({
        _tag: "ModelInvalid",
        problem: `${side} ${value.name} is not a tensor of a type that can cross`,
      })
    return { name: value.name, dtype, shape: value.shape }
  })

/**
 * A provider that cannot be had is distinguished from a model that cannot be read by trying the model on the CPU, which is
 * always there. The session itself is never moved to another provider than the one asked for.
 */
const open = async ({ key, provider, source, threads }: Open): Promise<Opened> => {
  let session: Ort.InferenceSession
  try {
    session = await create(source, optionsOf(provider, threads))
  } catch (cause) {
    const problem = messageOf(cause)
    if (provider === "cpu") throw new Refused({ _tag: "ModelInvalid", problem })
    try {
      await (await create(source, optionsOf("cpu", threads))).release()
    } catch (onCpu) {
      throw new Refused({ _tag: "ModelInvalid", problem: messageOf(onCpu) })
    }
    const available = ort
      .listSupportedBackends()
      .filter(({ bundled, name }) => bundled && name !== provider)
      .map(({ name }) => name)
    throw new Refused({ _tag: "ProviderMissing", available, problem })
  }
  const opened = {
    inputs: declared("input", session.inputMetadata),
    outputs: declared("output", session.outputMetadata),
  }
  await models.get(key)?.session.release()
  models.set(key, { session, opened })
  return opened
}

const fed = (feeds: Tensors): Record<string, Ort.Tensor> =>
  Object.fromEntries(Object.entries(feeds).map(([name, tensor]) => [name, toOrt(ort, tensor)]))

const given = (outputs: Ort.InferenceSession.OnnxValueMapType, names: ReadonlyArray<string>): Tensors =>
  Object.fromEntries(names.map((name) => [name, fromOrt(outputs[name] as Ort.Tensor)]))

const modelOf = (key: string) => {
  const model = models.get(key)
  if (model === undefined) throw new Error(`model ${key} is not open`)
  return model
}

const holds = (tensor: Tensor | undefined): boolean =>
  tensor === undefined || (tensor.data as Uint8Array).every((byte) => byte === 1)

const answer = async (request: Request): Promise<Response[Request["_tag"]]> => {
  switch (request._tag) {
    case "Open":
      return open(request)
    case "Run": {
      const { opened, session } = modelOf(request.key)
      return given(
        await session.run(fed(request.feeds)),
        opened.outputs.map(({ name }) => name),
      )
    }
    case "Restore":
      state.restore(request.state)
      return null
    case "Read":
      return state.read(request.names)
    case "Observe": {
      const { session } = modelOf(request.key)
      return given(
        await session.run({ ...state.feeds(session.inputNames), ...fed(request.feeds) }),
        session.outputNames,
      )
    }
    case "Advance": {
      const { session } = modelOf(request.key)
      const feeds = { ...state.feeds(session.inputNames), ...fed(request.feeds) }
      const fetches = state.fetches(session.outputNames)
      assertDisjoint(feeds, fetches)
      const reports = session.outputNames.filter((name) => !name.startsWith("next/"))
      const outputs = await session.run(feeds, {
        ...fetches,
        ...Object.fromEntries(reports.map((name) => [name, null])),
      })
      const values = given(outputs, reports)
      if (holds(values["finite"])) state.advance(session.outputNames)
      return values
    }
  }
}

/** Buffers that only this message holds can be handed over; what the state holds was copied by `read`. */
const buffersOf = (value: unknown): ReadonlyArray<ArrayBuffer> => {
  if (typeof value !== "object" || value === null || "inputs" in value) return []
  const found = Object.values(value as Tensors).map(({ data }) => data.buffer)
  return [...new Set(found.filter((buffer) => buffer instanceof ArrayBuffer))]
}

ThreadServer.serve<Request, Failure>({
  answer,
  failureOf: (cause) =>
    cause instanceof Refused ? cause.failure : { _tag: "RunFailed", problem: messageOf(cause) },
  transfer: buffersOf,
})
