/** What became of a request that did not succeed: worth another attempt, nothing there, or refused for good. */
import * as Data from "effect/Data"

import {
  BucketMissing,
  ClockSkewed,
  CredentialsMissing,
  CredentialsRefused,
  PermissionMissing,
  RegionWrong,
  RequestRefused,
  type S3Error,
  StorageFull,
} from "../../S3Error.ts"

export type Reason =
  /** `lasting`: a few seconds are not likely to change it. */
  | { readonly _tag: "Transient"; readonly problem: string; readonly lasting: boolean }
  | { readonly _tag: "Absent" }
  /** The multipart upload is not there: aborted, or complete already. */
  | { readonly _tag: "UploadGone" }
  | { readonly _tag: "Refused"; readonly error: S3Error }

export class Fault extends Data.TaggedError("Fault")<{ readonly reason: Reason }> {}

export const transient = (problem: string, lasting = false): Fault =>
  new Fault({ reason: { _tag: "Transient", problem, lasting } })

/** What is known of a request. */
export interface Asked {
  readonly bucket: string
  readonly server: string
  readonly region: string | null
  readonly url: string
  readonly operation: string
}

/** The parts of the SDK's errors that matter; all of them may be missing. */
interface Told {
  readonly name?: string
  readonly message?: string
  readonly code?: string
  readonly Code?: string
  readonly Region?: string
  readonly $metadata?: { readonly httpStatusCode?: number }
  readonly $response?: { readonly statusCode?: number; readonly headers?: Record<string, string> }
}

const expired = /^(ExpiredToken|ExpiredTokenException|TokenRefreshRequired|RequestExpired)$/
const refusedKeys =
  /^(InvalidAccessKeyId|SignatureDoesNotMatch|InvalidToken|InvalidClientTokenId|NotSignedUp)$/
/** Refusals of what has arrived, not of what was sent: it changed on the way. */
const damaged =
  /^(BadDigest|IncompleteBody|XAmzContentSHA256Mismatch|XAmzContentChecksumMismatch|RequestTimeout)$/
const throttled =
  /^(SlowDown|SlowDownRead|SlowDownWrite|Throttling.*|TooManyRequests.*|RequestLimitExceeded|RequestThrottled.*|BandwidthLimitExceeded|ServiceUnavailable|InternalError|OperationAborted)$/
const full = /QuotaExceeded|StorageFull|InsufficientStorage|NotEnoughSpace/
const wrongRegion =
  /^(PermanentRedirect|Redirect|TemporaryRedirect|AuthorizationHeaderMalformed|IllegalLocationConstraintException)$/
/** No server listens, or the host is unknown: seldom different a minute later. */
const nobody =
  /^(ECONNREFUSED|ENOTFOUND|EHOSTUNREACH|ENETUNREACH|CERT_.*|ERR_TLS.*|DEPTH_ZERO_SELF_SIGNED_CERT|SELF_SIGNED_CERT_IN_CHAIN|UNABLE_TO_.*)$/

const secondsApart = (headers: Record<string, string> | undefined): number | null => {
  const server = Date.parse(headers?.["date"] ?? "")
  // oxlint-disable-next-line no-restricted-globals -- what this machine takes for now is what is being reported
  return Number.isNaN(server) ? null : (server - new Date().getTime()) / 1000
}

/** Sorts an error of the SDK. */
export const ofCause = (cause: unknown, asked: Asked): Fault => {
  const told = (typeof cause === "object" && cause !== null ? cause : {}) as Told
  const { bucket, operation, region, server, url } = asked
  const status = told.$metadata?.httpStatusCode ?? told.$response?.statusCode
  const headers = told.$response?.headers
  const code = told.Code ?? (told.name === undefined || told.name === "Error" ? "" : told.name)
  const problem = told.message === undefined || told.message === "" ? code : told.message
  const refused = (error: S3Error): Fault => new Fault({ reason: { _tag: "Refused", error } })

  if (code === "CredentialsProviderError" || code === "TokenProviderError")
    return refused(
      /expired/i.test(problem)
        ? new CredentialsRefused({ url, code: "Expired" })
        : new CredentialsMissing({ url, problem: problem.split("\n", 1)[0]! }),
    )
  if (code === "NoSuchBucket") return refused(new BucketMissing({ bucket, server }))
  if (code === "NoSuchUpload") return new Fault({ reason: { _tag: "UploadGone" } })
  if (code === "RequestTimeTooSkewed")
    return refused(new ClockSkewed({ url, seconds: secondsApart(headers) }))
  if (expired.test(code) || refusedKeys.test(code) || status === 401)
    return refused(new CredentialsRefused({ url, code: code === "" ? "401" : code }))
  if (wrongRegion.test(code) || status === 301 || status === 307) {
    const actual = headers?.["x-amz-bucket-region"] ?? told.Region ?? null
    return refused(new RegionWrong({ bucket, asked: region, actual }))
  }
  if (full.test(code) || status === 507)
    return refused(new StorageFull({ url, code: code === "" ? "507" : code }))
  if (throttled.test(code) || damaged.test(code)) return transient(code)
  if (status === 404 || code === "NoSuchKey" || code === "NotFound")
    return new Fault({ reason: { _tag: "Absent" } })
  if (status === 403) return refused(new PermissionMissing({ url, operation }))
  if (status !== undefined && (status >= 500 || status === 429 || status === 408))
    return transient(`${status} ${code}`.trim())
  if (status !== undefined && status >= 400)
    return refused(new RequestRefused({ url, operation, code: code === "" ? String(status) : code, problem }))
  // No answer, or one that makes no sense: cut off, timed out, refused by the system.
  return transient(
    problem === "" ? String(cause) : problem,
    told.code !== undefined && nobody.test(told.code),
  )
}
