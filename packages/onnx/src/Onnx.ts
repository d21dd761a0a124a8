/**
 * Writes a graph as an ONNX model: deterministically, so that the same graph has the same bytes and the same
 * digest in every process.
 */
import { hash } from "node:crypto"

import { create, toBinary } from "@bufbuild/protobuf"
import {
  AttributeProto_AttributeType,
  AttributeProtoSchema,
  type AttributeProto,
  type GraphProto,
  GraphProtoSchema,
  ModelProtoSchema,
  type NodeProto,
  NodeProtoSchema,
  type TensorProto,
  TensorProtoSchema,
  TensorShapeProto_DimensionSchema,
  type ValueInfoProto,
  ValueInfoProtoSchema,
} from "onnx-buf"

import * as DType from "./DType.ts"
import { GraphInvalid } from "./GraphError.ts"
import { lower } from "./internal/lower.ts"
import * as OpSpec from "./OpSpec.ts"
import * as Tensor from "./Tensor.ts"
import * as TensorGraph from "./TensorGraph.ts"
import type { Attribute, Node, Subgraph, Value } from "./Value.ts"

/** A model in memory. */
export interface ModelBytes {
  readonly name: string
  readonly bytes: Uint8Array
  /** The sha256 of the bytes in hexadecimal digits. */
  readonly digest: string
}

/** A model of a graph. `I` and `O` keep the graph's own types for whoever feeds it. */
export interface Model<
  I extends TensorGraph.Values = TensorGraph.Values,
  O extends TensorGraph.Values = TensorGraph.Values,
> extends ModelBytes {
  readonly graph: TensorGraph.TensorGraph<I, O>
}

export interface Options {
  /**
   * Whether products with transposes become onnxruntime's own `FusedMatMul`; false keeps to `ai.onnx`.
   * @default true
   */
  readonly fused?: boolean
}

const valueInfo = (name: string, { dtype, shape }: TensorGraph.Spec): ValueInfoProto =>
  create(ValueInfoProtoSchema, {
    name,
    type: {
      value: {
        case: "tensorType",
        value: {
          elemType: DType.onnxType(dtype),
          shape: {
            dim: shape.map((dim) =>
              create(TensorShapeProto_DimensionSchema, {
                value:
                  typeof dim === "number"
                    ? { case: "dimValue", value: BigInt(dim) }
                    : { case: "dimParam", value: dim },
              }),
            ),
          },
        },
      },
    },
  })

const initializer = (name: string, tensor: Tensor.Tensor): TensorProto =>
  create(TensorProtoSchema, {
    name,
    dims: tensor.shape.map(BigInt),
    dataType: DType.onnxType(tensor.dtype),
    rawData: new Uint8Array(Tensor.bytes(tensor)),
  })

const attribute = (name: string, value: Attribute, body: (graph: Subgraph) => GraphProto): AttributeProto => {
  const Type = AttributeProto_AttributeType
  if (typeof value === "number")
    return create(AttributeProtoSchema, { name, type: Type.INT, i: BigInt(value) })
  if (typeof value === "string")
    return name === "to"
      ? create(AttributeProtoSchema, {
          name,
          type: Type.INT,
          i: BigInt(DType.onnxType(value as DType.DType)),
        })
      : create(AttributeProtoSchema, { name, type: Type.STRING, s: new TextEncoder().encode(value) })
  if ("float" in value) return create(AttributeProtoSchema, { name, type: Type.FLOAT, f: value.float })
  if ("graph" in value) return create(AttributeProtoSchema, { name, type: Type.GRAPH, g: body(value.graph) })
  return create(AttributeProtoSchema, { name, type: Type.INTS, ints: value.map(BigInt) })
}

/**
 * A graph as a protocol buffer. Inner names are `prefix` and a number, in the order of creation; a body's prefix
 * is another than its surroundings', because ONNX forbids a name to be made twice.
 */
const graphProto = (
  name: string,
  inputs: ReadonlyArray<readonly [string, Value]>,
  outputs: ReadonlyArray<readonly [string, Value]>,
  nodes: ReadonlyArray<Node>,
  prefix: string,
  fused: boolean,
): GraphProto => {
  const names = new Map<Value, string>(inputs.map(([key, value]) => [value, key]))
  const copies: Array<readonly [from: Value, to: string]> = []
  for (const [key, value] of outputs) {
    if (names.has(value) || value.node.op === "Constant") copies.push([value, key])
    else names.set(value, key)
  }
  let next = 0
  const nameOf = (value: Value): string => {
    let found = names.get(value)
    if (found === undefined) names.set(value, (found = `${prefix}${next++}`))
    return found
  }
  let bodies = 0
  const body = (graph: Subgraph): GraphProto => subgraphProto(graph, `${prefix}${bodies++}b`, fused)

  const initializers: Array<TensorProto> = []
  const made: Array<NodeProto> = []
  for (const node of nodes) {
    if (node.op === "Input") continue
    if (node.op === "Constant") {
      initializers.push(initializer(nameOf(node.outputs[0]!), node.data!))
      continue
    }
    made.push(
      create(NodeProtoSchema, {
        name: `${prefix}n${made.length}`,
        opType: node.op,
        domain: OpSpec.find(node.op)!.domain,
        input: node.inputs.map((input) => (input === undefined ? "" : nameOf(input))),
        output: node.outputs.map(nameOf),
        attribute: Object.keys(node.attributes)
          .toSorted()
          .map((key) => attribute(key, node.attributes[key]!, body)),
      }),
    )
  }
  for (const [from, to] of copies)
    made.push(
      create(NodeProtoSchema, {
        name: `${prefix}n${made.length}`,
        opType: "Identity",
        input: [nameOf(from)],
        output: [to],
      }),
    )
  return create(GraphProtoSchema, {
    name,
    node: made,
    input: inputs.map(([key, value]) => valueInfo(key, value)),
    output: outputs.map(([key, value]) => valueInfo(key, value)),
    initializer: initializers,
  })
}

const loweredProto = (graph: TensorGraph.TensorGraph, prefix: string, fused: boolean): GraphProto => {
  const lowered = lower(graph, fused)
  return graphProto(
    graph.name,
    Object.entries(lowered.inputs),
    Object.entries(lowered.outputs),
    TensorGraph.nodes(lowered),
    prefix,
    fused,
  )
}

const subgraphProto = ({ inputs, outputs }: Subgraph, prefix: string, fused: boolean): GraphProto => {
  const named = (values: ReadonlyArray<Value>, side: string) =>
    Object.fromEntries(values.map((value, i) => [`${prefix}${side}${i}`, value]))
  return loweredProto(
    TensorGraph.close(`${prefix}body`, named(inputs, "i"), named(outputs, "o")),
    prefix,
    fused,
  )
}

/** What a protocol buffer may have: 2 GiB less one byte. */
const largest = 2 ** 31 - 1

/** Refuses constants that do not fit into a protocol buffer. */
const checkSize = (graph: TensorGraph.TensorGraph): void => {
  const bytes = TensorGraph.nodes(graph).reduce((sum, { data }) => sum + (data?.data.byteLength ?? 0), 0)
  if (bytes > largest)
    throw new GraphInvalid({
      graph: graph.name,
      problem: `its constants have ${bytes} bytes, a model file has room for ${largest}: feed the weights instead`,
    })
}

/** The bytes of the model. Throws `GraphError` when the graph does not verify. */
export const encode = (graph: TensorGraph.TensorGraph, options: Options = {}): Uint8Array => {
  const reserved = [...Object.keys(graph.inputs), ...Object.keys(graph.outputs)].find((name) =>
    name.startsWith("_"),
  )
  if (reserved !== undefined)
    throw new GraphInvalid({
      graph: graph.name,
      problem: `${reserved}: names with _ in front are the writer's own`,
    })
  checkSize(graph)
  return toBinary(
    ModelProtoSchema,
    create(ModelProtoSchema, {
      irVersion: BigInt(OpSpec.irVersion),
      producerName: "reelgraph",
      opsetImport: [
        { domain: "", version: BigInt(OpSpec.opset) },
        { domain: "com.microsoft", version: 1n },
      ],
      graph: loweredProto(graph, "_", options.fused ?? true),
    }),
  )
}

/** The model of a graph: its bytes and their digest. */
export const model = <I extends TensorGraph.Values, O extends TensorGraph.Values>(
  graph: TensorGraph.TensorGraph<I, O>,
  options: Options = {},
): Model<I, O> => {
  const bytes = encode(graph, options)
  return { name: graph.name, bytes, digest: hash("sha256", bytes, "hex"), graph }
}

/** A model of other origin. What it takes and makes is known when it is open. */
export const fromBytes = (name: string, bytes: Uint8Array): ModelBytes => ({
  name,
  bytes,
  digest: hash("sha256", bytes, "hex"),
})
