/** The ways in which authoring a graph fails. They are thrown where the graph is written. */
import * as Schema from "effect/Schema"

/** The params given to an operator are not what its schema asks for. */
export class ParamsInvalid extends Schema.TaggedError<ParamsInvalid>()("ParamsInvalid", {
  operator: Schema.String,
  problem: Schema.String,
}) {
  override get message() {
    return `params of ${this.operator}: ${this.problem.replaceAll(/\n[ \t]+at /g, " at ")}`
  }
}

/** A version is not of the form 1.2.3. */
export class VersionInvalid extends Schema.TaggedError<VersionInvalid>()("VersionInvalid", {
  of: Schema.String,
  version: Schema.String,
}) {
  override get message() {
    return `${this.of} has version "${this.version}"; use a semantic version such as 1.0.0`
  }
}

/** A name has characters that file names, paths or command lines give another meaning. */
export class NameInvalid extends Schema.TaggedError<NameInvalid>()("NameInvalid", {
  of: Schema.String,
  given: Schema.String,
}) {
  override get message() {
    return `${this.of} is named ${JSON.stringify(this.given)}; use letters, digits, - and _`
  }
}

/** Two nodes or inputs of one graph have the same name. */
export class NameTaken extends Schema.TaggedError<NameTaken>()("NameTaken", {
  graph: Schema.String,
  node: Schema.String,
}) {
  override get message() {
    return `graph ${this.graph} has two nodes or inputs named ${this.node}; name one with .as("another-name")`
  }
}

/** An edge was wired into another graph, or after its graph was made. */
export class EdgeForeign extends Schema.TaggedError<EdgeForeign>()("EdgeForeign", {
  graph: Schema.String,
  node: Schema.String,
}) {
  override get message() {
    return `graph ${this.graph}: ${this.node} is wired across graphs, or after the graph was made; edges cannot leave the function that made them`
  }
}

/** A node lacks a side input. */
export class SideMissing extends Schema.TaggedError<SideMissing>()("SideMissing", {
  graph: Schema.String,
  node: Schema.String,
  side: Schema.String,
}) {
  override get message() {
    return `graph ${this.graph}: ${this.node} needs the side input ${this.side}; give it with .with({ ${this.side}: edge })`
  }
}

/** Params were set for a node that the graph does not have. */
export class NodeUnknown extends Schema.TaggedError<NodeUnknown>()("NodeUnknown", {
  graph: Schema.String,
  node: Schema.String,
  known: Schema.Array(Schema.String),
}) {
  override get message() {
    return `graph ${this.graph} has no node ${this.node}; it has ${this.known.join(", ")}`
  }
}

/** A layer is to be replaced that no operator of the graph brings. */
export class LayerUnused extends Schema.TaggedError<LayerUnused>()("LayerUnused", {
  graph: Schema.String,
}) {
  override get message() {
    return `no operator of graph ${this.graph} brings this layer; give the very value that is the operator's layer`
  }
}
