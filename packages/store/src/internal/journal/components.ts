/**
 * Strongly connected components (R. Tarjan, "Depth-first search and linear graph algorithms", 1972), with a stack of
 * its own: a chain of a million calls is no deeper than one.
 */

/** The number of each node's component; every edge leads to an equal or a smaller number. */
const componentsOf = (
  nodes: Iterable<number>,
  next: (node: number) => ReadonlyArray<number>,
): ReadonlyMap<number, number> => {
  const components = new Map<number, number>()
  const order = new Map<number, number>()
  const lowest = new Map<number, number>()
  const open: Array<number> = []
  let count = 0
  const lower = (node: number, to: number) => lowest.set(node, Math.min(lowest.get(node)!, to))
  for (const root of nodes) {
    if (order.has(root)) continue
    const path: Array<{ readonly node: number; readonly edges: ReadonlyArray<number>; at: number }> = []
    const enter = (node: number) => {
      order.set(node, order.size)
      lowest.set(node, order.get(node)!)
      open.push(node)
      path.push({ node, edges: next(node), at: 0 })
    }
    enter(root)
    while (path.length > 0) {
      const top = path.at(-1)!
      if (top.at < top.edges.length) {
        const other = top.edges[top.at++]!
        if (!order.has(other)) enter(other)
        else if (!components.has(other)) lower(top.node, order.get(other)!)
        continue
      }
      path.pop()
      const above = path.at(-1)
      if (above !== undefined) lower(above.node, lowest.get(top.node)!)
      if (lowest.get(top.node) !== order.get(top.node)) continue
      let member: number
      do {
        member = open.pop()!
        components.set(member, count)
      } while (member !== top.node)
      count++
    }
  }
  return components
}

/** Nodes to which an edge leads from a node that they do not lead back to, and those that go round with them. */
export const below = (
  nodes: Iterable<number>,
  next: (node: number) => ReadonlyArray<number>,
): ReadonlySet<number> => {
  const all = [...nodes]
  const components = componentsOf(all, next)
  const entered = new Set<number>()
  for (const node of all)
    for (const other of next(node)) {
      const component = components.get(other)!
      if (component !== components.get(node)) entered.add(component)
    }
  return new Set(all.filter((node) => entered.has(components.get(node)!)))
}
