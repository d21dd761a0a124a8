/**
 * Who may read what a store writes: its owner alone, whatever the umask. Where the owner has opened the folder of a
 * store to others, what comes into it is open to them as well, but never for all the world to write.
 */

/** Permission bits of new files and folders. */
export interface Modes {
  readonly folder: number
  readonly file: number
  /** Of a blob, which is never written to. */
  readonly blob: number
}

/** For what is made in a folder of these permissions. */
export const modesIn = (mode: number): Modes => ({
  folder: 0o700 | (mode & 0o075),
  file: 0o600 | (mode & 0o064),
  blob: 0o400 | (mode & 0o044),
})

/** For the owner alone. */
export const ownModes: Modes = modesIn(0o700)

/** Who else may write to a folder of these permissions; nothing when no one else may. */
export const exposedTo = (mode: number): string | undefined =>
  (mode & 0o002) !== 0 ? "every user of this machine" : (mode & 0o020) !== 0 ? "its group" : undefined
