/** From `node:fs` failures to the store's typed errors. */
import {
  OutOfSpace,
  SourceMissing,
  SourceUnreadable,
  StoreUnreadable,
  StoreUnwritable,
} from "../../blobs/BlobStore.ts"

/** The `code` of a system error (`ENOENT`), or undefined. */
export const errorCode = (cause: unknown): string | undefined =>
  cause instanceof Error && "code" in cause && typeof cause.code === "string" ? cause.code : undefined

export const isAbsent = (cause: unknown): boolean => errorCode(cause) === "ENOENT"

export const writeFailure =
  (path: string) =>
  (cause: unknown): StoreUnwritable | OutOfSpace => {
    const code = errorCode(cause)
    // EFBIG: the limit of this process, or of the file system.
    return code === "ENOSPC" || code === "EDQUOT" || code === "EFBIG"
      ? new OutOfSpace({ path, cause })
      : new StoreUnwritable({ path, cause })
  }

export const readFailure =
  (path: string) =>
  (cause: unknown): StoreUnreadable =>
    new StoreUnreadable({ path, cause })

export const sourceFailure =
  (path: string) =>
  (cause: unknown): SourceMissing | SourceUnreadable =>
    isAbsent(cause) || errorCode(cause) === "ENOTDIR"
      ? new SourceMissing({ path })
      : new SourceUnreadable({ path, cause })
