/** Exit codes by which a worker reports why it left: Slurm passes them on to the driver. */

/** The exit code of a worker that was warned and has left in time. */
export const leftInTime = 75

/** The exit code of a worker that could not read or write the store. */
export const storeFailed = 77

/** The exit code of a worker that found an assignment damaged, or not written by its driver. */
export const assignmentRefused = 76
