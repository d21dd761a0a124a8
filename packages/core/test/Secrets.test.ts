import { assert, describe, it } from "@effect/vitest"
import * as Schema from "effect/Schema"

import { Secrets } from "../src/index.ts"

const { masked } = Secrets

const letters = "ABCXYZabcxyz0189".split("")
const token = (more: ReadonlyArray<string>) =>
  Schema.Array(Schema.Literals([...letters, ...more])).check(Schema.isMinLength(12), Schema.isMaxLength(40))

/** Texts around a secret, some of them with what looks like one. */
const around = Schema.Array(
  Schema.Literals([
    " ",
    "\n",
    "a",
    "PUT ",
    "cannot read ",
    '"',
    "'",
    "(",
    "https://a.b/c ",
    ":",
    "=",
    "?",
    "é",
    "😀 ",
  ]),
).check(Schema.isMaxLength(8))

const places: ReadonlyArray<(secret: string) => string> = [
  (s) => `https://bucket.s3.amazonaws.com/k?X-Amz-Date=20260101&X-Amz-Signature=${s}&x-id=GetObject`,
  (s) => `https://b/k?X-Amz-Credential=${s}%2F20260101`,
  (s) => `http://b/k?a=1&X-Amz-Security-Token=${s}`,
  (s) => `https://storage.googleapis.com/b/o?X-Goog-Signature=${s}`,
  (s) => `https://account.blob.core.windows.net/c/b?sv=2024&sig=${s}&se=2026`,
  (s) => `https://api/x?access_token=${s}`,
  (s) => `https://api/x?token=${s}#top`,
  (s) => `https://api/x?a=b&amp;api_key=${s}`,
  (s) => `https://user:${s}@host:8080/path`,
  (s) => `https://${s}@host/path`,
  (s) => `postgres://user:${s}@host/db`,
  (s) => `s3:/AKIAKEY:${s}@bucket/prefix`,
  (s) => `s3://AKIAKEY:${s.slice(0, 4)}/${s}@bucket`,
  (s) => `Authorization: Bearer ${s}`,
  (s) => `{"authorization":"Basic ${s}"}`,
  (s) => `AWS_SECRET_ACCESS_KEY=${s}`,
]

describe("Secrets.masked", () => {
  it.prop(
    "no secret of a URL is left, wherever it stands; masked text stays as it is",
    [
      Schema.Int.check(Schema.isBetween({ minimum: 0, maximum: places.length - 1 })),
      token(["%", "-", "_"]),
      around,
      around,
    ],
    ([place, secret, before, after]) => {
      const value = `q9${secret.join("")}`
      const text = `${before.join("")} ${places[place]!(value)} ${after.join("")}`
      const found = masked(text)
      assert.notInclude(found, value)
      assert.include(found, "***")
      assert.strictEqual(masked(found), found)
    },
  )

  it.prop(
    "a JSON document is still one, of the same shape",
    [Schema.String, token([`"`, "\\", "/"])],
    ([text, secret]) => {
      const strings = [text, ...places.map((place) => place(secret.join("")))]
      const found = JSON.parse(masked(JSON.stringify({ strings }))) as {
        readonly strings: ReadonlyArray<string>
      }
      assert.strictEqual(found.strings.length, strings.length)
      if (!/[:=]/.test(text)) assert.strictEqual(found.strings[0], text)
    },
  )

  it("what only looks like a secret stays", () => {
    for (const text of [
      "https://host:8080/path/someone@example.com",
      "https://host/a.mp4?versionId=3&part=2",
      "s3://bucket/prefix/clip.mp4",
      "made on h100-3 job 1234_5.0, mail me@example.com",
      "token=abc",
      "params changed: key=1",
      "24 fps: 16:9",
    ])
      assert.strictEqual(masked(text), text)
  })

  it("the host and the other parameters stay", () => {
    assert.strictEqual(
      masked("GET https://b.example/k?X-Amz-Date=1&X-Amz-Signature=abcd&x-id=1 failed"),
      "GET https://b.example/k?X-Amz-Date=1&X-Amz-Signature=***&x-id=1 failed",
    )
    assert.strictEqual(masked("s3:/KEY:SECRET@bucket/p"), "s3:/***@bucket/p")
    assert.strictEqual(masked("https://user:pass@host/p"), "https://***@host/p")
  })
})
