export { Artifact, artifactsIn, isSha256, Sha256 } from "./blobs/Artifact.ts"
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
} from "./blobs/BlobStore.ts"
export * as BlobStoreFs from "./blobs/BlobStoreFs.ts"
export * as BlobStoreMemory from "./blobs/BlobStoreMemory.ts"
export { Journal, JournalError, JournalNewer, RunStatus, Status } from "./journal/Journal.ts"
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
} from "./journal/Journal.ts"
export * as JournalAt from "./journal/JournalAt.ts"
export * as JournalSegment from "./journal/JournalSegment.ts"
export * as JournalShared from "./journal/JournalShared.ts"
export * as JournalSqlite from "./journal/JournalSqlite.ts"
export * as Lineage from "./journal/Lineage.ts"
export { Notices } from "./Notices.ts"
export { defaultMaxObjectBytes, isObjectName, ObjectNameInvalid, Objects, ObjectTooLarge } from "./Objects.ts"
export * as BlobStoreS3 from "./blobs/BlobStoreS3.ts"
export * as S3Error from "./S3Error.ts"
export * as StoreAt from "./StoreAt.ts"
export * as StoreFs from "./StoreFs.ts"
export * as StoreLocation from "./StoreLocation.ts"
export * as Transfers from "./blobs/Transfers.ts"
export { Unfinished, type UnfinishedInfo, UnfinishedInUse } from "./Unfinished.ts"
