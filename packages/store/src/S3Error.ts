/** The ways in which a bucket, or the server that has it, refuses to be a store; each message has the advice. */
import * as Schema from "effect/Schema"

/** No bucket of this name. */
export class BucketMissing extends Schema.TaggedError<BucketMissing>()("BucketMissing", {
  bucket: Schema.String,
  server: Schema.String,
}) {
  get endsRun(): boolean {
    return true
  }
  override get message() {
    return `${this.server} has no bucket ${this.bucket}: make it, or correct its name in the URL of the store`
  }
}

/** This machine has no credentials. */
export class CredentialsMissing extends Schema.TaggedError<CredentialsMissing>()("CredentialsMissing", {
  url: Schema.String,
  problem: Schema.String,
}) {
  get endsRun(): boolean {
    return true
  }
  override get message() {
    return `no credentials for ${this.url} (${this.problem}): set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or AWS_PROFILE to a profile in ~/.aws`
  }
}

/** The server does not accept who is asking: an unknown key, a wrong secret, a token that has expired. */
export class CredentialsRefused extends Schema.TaggedError<CredentialsRefused>()("CredentialsRefused", {
  url: Schema.String,
  code: Schema.String,
}) {
  get endsRun(): boolean {
    return true
  }
  override get message() {
    return this.code.includes("Expired")
      ? `the credentials for ${this.url} have expired (${this.code}): get new ones, for example with \`aws sso login\`, and run again: finished results are stored`
      : `the credentials for ${this.url} are refused (${this.code}): correct AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or the profile that AWS_PROFILE names`
  }
}

/** Whoever is asking may not do this. */
export class PermissionMissing extends Schema.TaggedError<PermissionMissing>()("PermissionMissing", {
  url: Schema.String,
  /** Of the protocol: `PutObject`. */
  operation: Schema.String,
}) {
  get endsRun(): boolean {
    return true
  }
  override get message() {
    return `no permission for ${this.operation} of ${this.url}: a store needs s3:ListBucket of its bucket, and s3:GetObject, s3:PutObject, s3:DeleteObject and s3:AbortMultipartUpload of what is in it`
  }
}

/** The bucket is in another region, or no region was given. */
export class RegionWrong extends Schema.TaggedError<RegionWrong>()("RegionWrong", {
  bucket: Schema.String,
  asked: Schema.NullOr(Schema.String),
  /** Where the bucket is, if the server reports it. */
  actual: Schema.NullOr(Schema.String),
}) {
  get endsRun(): boolean {
    return true
  }
  override get message() {
    const region = this.actual ?? "REGION"
    const asked = this.asked === null ? "no region is set" : `it is not in ${this.asked}`
    const actual = this.actual === null ? "" : `, it is in ${this.actual}`
    return `bucket ${this.bucket}: ${asked}${actual}; set AWS_REGION=${region}, or add ?region=${region} to the URL of the store`
  }
}

/** The clock of this machine differs too much from the server's for its requests to be believed. */
export class ClockSkewed extends Schema.TaggedError<ClockSkewed>()("ClockSkewed", {
  url: Schema.String,
  /** The server's time less this machine's, when it reported its time. */
  seconds: Schema.NullOr(Schema.Finite),
}) {
  get endsRun(): boolean {
    return true
  }
  override get message() {
    const by = this.seconds === null ? "" : ` by ${Math.round(Math.abs(this.seconds))} s`
    return `the clock of this machine differs${by} from that of the server of ${this.url}: set it right (timedatectl set-ntp true)`
  }
}

/** The server did not answer, or only with errors, however often it was asked. */
export class StoreUnreachable extends Schema.TaggedError<StoreUnreachable>()("StoreUnreachable", {
  url: Schema.String,
  attempts: Schema.Int,
  problem: Schema.String,
}) {
  /** It may be back by the next attempt of a call. */
  get retryable(): boolean {
    return true
  }
  get endsRun(): boolean {
    return true
  }
  override get message() {
    const times = this.attempts === 1 ? "one attempt" : `${this.attempts} attempts`
    return `${this.url} could not be reached in ${times} (${this.problem}): check the network and the endpoint, then run again: finished results are stored`
  }
}

/** The bucket, or its owner's quota in it, is full. */
export class StorageFull extends Schema.TaggedError<StorageFull>()("StorageFull", {
  url: Schema.String,
  code: Schema.String,
}) {
  get endsRun(): boolean {
    return true
  }
  override get message() {
    return `${this.url} has no room left (${this.code}): remove something, or have the quota raised, and run again: finished results are stored`
  }
}

/** The server refuses a request for a reason of its own. */
export class RequestRefused extends Schema.TaggedError<RequestRefused>()("RequestRefused", {
  url: Schema.String,
  operation: Schema.String,
  code: Schema.String,
  problem: Schema.String,
}) {
  /** Whether others like it would be refused, too; not when it is this object that is too large. */
  get endsRun(): boolean {
    return /^(?:Put|Create|Upload|Complete|Copy)/.test(this.operation) && this.code !== "EntityTooLarge"
  }
  override get message() {
    return `${this.operation} of ${this.url} was refused: ${this.code}${this.problem === "" ? "" : `, ${this.problem}`}`
  }
}

export type S3Error =
  | BucketMissing
  | CredentialsMissing
  | CredentialsRefused
  | PermissionMissing
  | RegionWrong
  | ClockSkewed
  | StoreUnreachable
  | StorageFull
  | RequestRefused
