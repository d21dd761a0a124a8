/** The form of names and versions, the same for graphs and operators. */

/** A semantic version: `1.0.0`, `2.1.0-rc.1`. */
export const isVersion = (text: string): boolean =>
  /^(0|[1-9]\d*)\.(0|[1-9]\d*)\.(0|[1-9]\d*)(-[0-9A-Za-z-]+(\.[0-9A-Za-z-]+)*)?$/.test(text)

/** Names are parts of file names (`curate@1.0.0.json`), of paths (`encode.vae`) and of command lines. */
export const isName = (text: string): boolean => /^[A-Za-z0-9][A-Za-z0-9_-]*$/.test(text)
