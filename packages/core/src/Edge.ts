/**
 * Edges: what flows from an input or a node to others. `pipe` wires nodes in a row; a wrong connection does
 * not compile, and the compiler's message names the edge and both ports.
 */
export type { AnyEdge as Any, Edge, Into, NeedsOf } from "./internal/wiring.ts"
