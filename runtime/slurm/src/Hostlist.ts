/** Names of nodes as Slurm writes them, `h100-[0-3,07],cpu-1`, and indices of arrays, `0-9,12%4`. */

/** The greatest number of names or indices that one expression may stand for. */
const most = 1_000_000

/** Commas that are not within brackets. */
const topLevel = /,(?![^[]*\])/u

/** `0-9`, `0-40:2`, `7`; numbers keep leading zeros. Nothing for what is cut off or something else. */
const range = (text: string): ReadonlyArray<string> => {
  const found = /^(?<first>\d+)(?:-(?<last>\d+)(?::(?<step>\d+))?)?$/u.exec(text)?.groups
  if (found === undefined) return []
  const { first, last = first, step = "1" } = found
  const [from, to, by] = [Number(first), Number(last), Math.max(1, Number(step))]
  if (to < from || (to - from) / by > most) return []
  return Array.from({ length: Math.floor((to - from) / by) + 1 }, (_, i) =>
    String(from + i * by).padStart(first!.length, "0"),
  )
}

const expandOne = (text: string): ReadonlyArray<string> => {
  const found = /^(?<before>[^[]*)\[(?<ranges>[^\]]*)\](?<after>.*)$/u.exec(text)?.groups
  if (found === undefined) return text === "" ? [] : [text]
  const rest = found["after"] === "" ? [""] : expandOne(found["after"]!)
  return found["ranges"]!.split(",")
    .flatMap(range)
    .flatMap((number) => rest.map((after) => `${found["before"]}${number}${after}`))
}

/** Names that a list of nodes stands for. */
export const expand = (list: string): ReadonlyArray<string> => list.split(topLevel).flatMap(expandOne)

/** Indices that the tasks of an array which still wait are written as. What is cut off (`...`) is left out. */
export const indices = (text: string): ReadonlyArray<number> =>
  text.replace(/%\d+$/u, "").replaceAll(/[[\]]/gu, "").split(",").flatMap(range).map(Number)

/** Indices written as Slurm reads them, `0-3,7`. */
export const compress = (numbers: ReadonlyArray<number>): string => {
  const runs: Array<[first: number, last: number]> = []
  for (const number of [...new Set(numbers)].sort((a, b) => a - b)) {
    const run = runs.at(-1)
    if (run !== undefined && run[1] === number - 1) run[1] = number
    else runs.push([number, number])
  }
  return runs.map(([first, last]) => (first === last ? String(first) : `${first}-${last}`)).join(",")
}
