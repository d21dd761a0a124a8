/** Which of two files of one content keeps its place: the shorter name, since copies are called longer. */
export const precedes = (a: string, b: string): boolean =>
  a.length === b.length ? a < b : a.length < b.length
