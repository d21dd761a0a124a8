/** Trees as indented lines. */

/** Lines, and what hangs below them. */
export interface Branch {
  readonly lines: ReadonlyArray<string>
  readonly below: () => ReadonlyArray<Branch>
}

/** The lines of a tree, at most so many. Keeps its own stack: depth is bounded by `limit`. */
export const render = (root: Branch, limit: number): ReadonlyArray<string> => {
  const out: Array<string> = []
  const pending: Array<{ readonly branch: Branch; readonly first: string; readonly rest: string }> = [
    { branch: root, first: "", rest: "" },
  ]
  while (pending.length > 0) {
    const { branch, first, rest } = pending.pop()!
    if (out.length >= limit) {
      out.push("... and more; --json has everything")
      break
    }
    branch.lines.forEach((line, position) => out.push(`${position === 0 ? first : rest}${line}`))
    const below = branch.below()
    for (let position = below.length - 1; position >= 0; position--) {
      const last = position === below.length - 1
      pending.push({
        branch: below[position]!,
        first: `${rest}${last ? "└─ " : "├─ "}`,
        rest: `${rest}${last ? "   " : "│  "}`,
      })
    }
  }
  return out
}
