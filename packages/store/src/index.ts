export { Artifact, artifactsIn, isSha256, Sha256 } from "./Artifact.ts"
export {
  BlobCorrupt,
  type BlobId,
  type BlobInfo,
  BlobMissing,
  BlobStore,
  type BlobStoreError,
  BlobTooLarge,
  defaultMaxBytes,
  DigestInvalid,
  type GetOptions,
  NotAStore,
  type OpenError,
  OutOfSpace,
  type PutError,
  type PutFileOptions,
  type ReadError,
  type ReadOptions,
  Scratch,
  SourceChanged,
  type SourceError,
  SourceMissing,
  SourceUnreadable,
  StoreUnreadable,
  StoreUnwritable,
  StoreVanished,
  StoreVersionUnsupported,
} from "./BlobStore.ts"
export * as BlobStoreFs from "./BlobStoreFs.ts"
export * as BlobStoreMemory from "./BlobStoreMemory.ts"
export { Journal, JournalError, JournalNewer, RunStatus, Status } from "./Journal.ts"
export type {
  BoundOperator,
  CallRow,
  Committed,
  Dropped,
  Earlier,
  Hit,
  NewItem,
  OperatorRow,
  Refusal,
  Run,
  RunEnd,
  RunRow,
  Step,
  StoredItem,
} from "./Journal.ts"
export * as JournalAt from "./JournalAt.ts"
export * as JournalSegment from "./JournalSegment.ts"
export * as JournalShared from "./JournalShared.ts"
export * as JournalSqlite from "./JournalSqlite.ts"
export * as Lineage from "./Lineage.ts"
export { Notices } from "./Notices.ts"
export { defaultMaxObjectBytes, isObjectName, ObjectNameInvalid, Objects, ObjectTooLarge } from "./Objects.ts"
export * as BlobStoreS3 from "./BlobStoreS3.ts"
export * as S3Error from "./S3Error.ts"
export * as StoreAt from "./StoreAt.ts"
export * as StoreFs from "./StoreFs.ts"
export * as StoreLocation from "./StoreLocation.ts"
export { Unfinished, type UnfinishedInfo, UnfinishedInUse } from "./Unfinished.ts"
