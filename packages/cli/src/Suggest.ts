/** The known name that a mistyped one was meant to be. */

/** Single-character insertions, deletions, substitutions and swaps of neighbours between two names. */
export const distance = (a: string, b: string): number => {
  let beforeLast: Array<number> = []
  let last = Array.from({ length: b.length + 1 }, (_, j) => j)
  for (let i = 1; i <= a.length; i++) {
    const row = [i]
    for (let j = 1; j <= b.length; j++) {
      const same = a[i - 1] === b[j - 1] ? 0 : 1
      let least = Math.min(last[j]! + 1, row[j - 1]! + 1, last[j - 1]! + same)
      if (i > 1 && j > 1 && a[i - 1] === b[j - 2] && a[i - 2] === b[j - 1])
        least = Math.min(least, beforeLast[j - 2]! + 1)
      row.push(least)
    }
    beforeLast = last
    last = row
  }
  return last[b.length]!
}

/** Nobody mistypes a longer name: it is something else, and comparing takes the product of both lengths. */
const longest = 100

/** The nearest known name, unless even that is far off. None for a name of more than 100 characters. */
export const nearest = (name: string, known: ReadonlyArray<string>): string | undefined => {
  if (name.length > longest) return undefined
  const wanted = name.toLowerCase()
  let best: string | undefined
  let least = Number.POSITIVE_INFINITY
  for (const candidate of known) {
    if (candidate.length > longest) continue
    const there = candidate.toLowerCase()
    const apart = there.startsWith(wanted) && wanted.length > 1 ? 0.5 : distance(wanted, there)
    if (apart < least) {
      best = candidate
      least = apart
    }
  }
  return least <= Math.max(1, Math.floor(name.length / 3)) ? best : undefined
}

/** ` Did you mean curate?`, or nothing. */
export const sentence = (name: string, known: ReadonlyArray<string>): string => {
  const found = nearest(name, known)
  return found === undefined ? "" : ` Did you mean ${found}?`
}
