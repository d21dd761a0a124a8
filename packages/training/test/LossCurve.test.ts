import { assert, describe, it } from "@effect/vitest"

import * as LossCurve from "../src/LossCurve.ts"

const rows = [20, 40, 60].flatMap((step) =>
  ["all", "4x9x16", "1x9x16"].map((bucket, i) => ({
    step,
    loss: 1 / step + i,
    norm: 0.5,
    rate: 1e-3,
    stepMillis: 12,
    bucket,
  })),
)

/** What is wrong with a text as XML: tags that do not close, attributes without quotes, bare `&` and `<`. */
const xmlProblem = (text: string): string | undefined => {
  const open: Array<string> = []
  const part = /<(?<end>\/?)(?<name>[a-z]+)(?<attributes>(?:\s+[\w:-]+="[^"<&]*")*)\s*(?<empty>\/?)>|[^<]+/gu
  let at = 0
  for (const match of text.trim().matchAll(part)) {
    if (match.index !== at) return `text that is no tag at ${at}`
    at += match[0].length
    const { empty, end, name } = match.groups!
    if (name === undefined) {
      if (/&(?!(?:amp|lt|gt|quot|apos);)/u.test(match[0])) return `a bare & at ${match.index}`
      if (open.length === 0) return `text outside the root at ${match.index}`
    } else if (end === "/") {
      if (open.pop() !== name) return `</${name}> closes nothing at ${match.index}`
    } else if (open.length === 0 && match.index > 0) return `a second root at ${match.index}`
    else if (empty !== "/") open.push(name)
  }
  if (at !== text.trim().length) return `text that is no tag at ${at}`
  return open.length > 0 ? `<${open.at(-1)}> is open` : undefined
}

describe("LossCurve", () => {
  it("reads what it writes", () => {
    const csv = LossCurve.toCsv(rows)
    assert.strictEqual(LossCurve.toCsv(LossCurve.fromCsv(csv)), csv)
    assert.throws(() => LossCurve.fromCsv(`${LossCurve.headerLine}1,x,3,4,5,all\n`), /line 2/)
    assert.throws(() => LossCurve.fromCsv("step,loss\n"), /line 1/)
  })

  it("draws every bucket, in well-formed XML", () => {
    const svg = LossCurve.toSvg("A & B", rows)
    assert.include(svg, "A &amp; B")
    assert.strictEqual(svg.match(/<polyline/g)?.length, 4)
    assert.isUndefined(xmlProblem(svg))
    assert.isUndefined(xmlProblem(LossCurve.toSvg("<empty>", [])))
    assert.isDefined(xmlProblem(svg.replace("</style>", "")))
    assert.isDefined(xmlProblem(svg.replace("&amp;", "&")))
    // What an attribute says, a style sheet would overrule: keys have the colours of their lines.
    assert.notMatch(svg, /[^-]fill:/u)
    assert.match(svg, /fill="#0072b2" class="key">4x9x16/u)
    assert.strictEqual(svg.match(/<polyline fill="none"/g)?.length, 4)
    // Every number is one.
    assert.notMatch(svg, /NaN|Infinity|undefined/u)
  })

  it("draws what is there of a single window, and of a loss of zero", () => {
    for (const few of [rows.slice(0, 1), [{ ...rows[0]!, loss: 0 }]]) {
      const svg = LossCurve.toSvg("few", few)
      assert.isUndefined(xmlProblem(svg))
      assert.notMatch(svg, /NaN|Infinity|undefined/u)
    }
  })
})
