/**
 * Secrets in text that comes from elsewhere: the credentials of URLs. A signed address, or one with a password in
 * it, lets whoever reads it in, so it is masked before it is shown, logged or recorded.
 *
 * Masked are the user information of any URL (`https://***@host`, `s3:/***@bucket`), the values of query parameters
 * that hold credentials (`?X-Amz-Signature=***`, `&token=***`), what follows an `Authorization` header's scheme, and
 * AWS's secret variables. Rather too much is masked than too little. A JSON document with masked strings is still one.
 * The time grows with the length of the text.
 */

const mask = "***"

/** From `:/` on, until the text leaves the URL. */
const afterScheme = /:\/{1,3}([^\s"'<>`]+)/g

/** `host:8080/`, which is no name and password. */
const isPort = /^[^:@/]*:\d{1,5}\//

/** What follows a scheme, without the user and password in front of the host. */
const withoutUser = (rest: string, isS3: boolean): string => {
  const slash = rest.search(/[/?#]/)
  const authority = slash < 0 ? rest : rest.slice(0, slash)
  // A key of AWS may have slashes in it, which a URL does not allow and people write.
  const reach = authority.includes("@") ? authority : rest
  const at = reach.lastIndexOf("@")
  if (at < 0) return rest
  const isUser = reach === authority || (rest.slice(0, at).includes(":") && (isS3 || !isPort.test(rest)))
  return isUser ? `${mask}${rest.slice(at)}` : rest
}

/** Names of query parameters that hold credentials, with what begins and ends them. Bounded, to stay linear. */
const parameters =
  /((?:[?&;]|\\u0026|%26)(?:[\w.-]{0,40}(?:token|secret|password|passwd|signature|credential|api[_-]?key|access[_-]?key(?:[_-]?id)?)|accessid|googleaccessid|sig|key|pwd|auth|code)=)[^\s&"'<>#`\\]+/gi

/** Those whose name alone tells what they are. */
const signed = /(\bx-(?:amz|goog)-(?:signature|credential|security-token)(?:=|%3D))[^\s&"'<>#`\\]+/gi

const headers =
  /(\bauthorization\\?["']?\s{0,4}[:=]\s{0,4}\\?["']?(?:bearer|basic|token)\s{1,4})[^\s"',\\}\]]+/gi

const variables =
  /(\baws_(?:secret_access_key|session_token|access_key_id)\\?["']?\s{0,4}[:=]\s{0,4}\\?["']?)[^\s"',\\}\]]+/gi

/** What no text with a secret is without. */
const mayHold = /:\/|=|authorization|aws_/i

/** The text with `***` for every secret in it; the same text where there is none. */
export const masked = (text: string): string =>
  mayHold.test(text)
    ? text
        .replaceAll(afterScheme, (found: string, rest: string, at: number) => {
          const head = found.slice(0, found.length - rest.length)
          return `${head}${withoutUser(rest, /s3$/i.test(text.slice(Math.max(0, at - 2), at)))}`
        })
        .replaceAll(parameters, `$1${mask}`)
        .replaceAll(signed, `$1${mask}`)
        .replaceAll(headers, `$1${mask}`)
        .replaceAll(variables, `$1${mask}`)
    : text
