/** Tables in Markdown. */

export const table = (
  head: ReadonlyArray<string>,
  rows: ReadonlyArray<ReadonlyArray<string | number>>,
): string => [head, head.map(() => "---"), ...rows].map((row) => `| ${row.join(" | ")} |`).join("\n")

/** A share as per cent. */
export const percent = (share: number): string => (100 * share).toFixed(1)
