/** Checks of options: each throws OptionInvalid, naming the option, what it is and what would do. */
import { OptionInvalid } from "../SamplingError.ts"

export const invalid = (of: string, option: string, got: unknown, expected: string): OptionInvalid =>
  new OptionInvalid({ of, option, got: typeof got === "string" ? `"${got}"` : String(got), expected })

export const between = (of: string, option: string, got: number, low: number, high: number): void => {
  if (!(got >= low && got <= high))
    throw invalid(
      of,
      option,
      got,
      high === Number.MAX_VALUE ? `a number of ${low} or more` : `a number from ${low} to ${high}`,
    )
}

export const above = (of: string, option: string, got: number, low: number): void => {
  if (!(got > low && got < Number.POSITIVE_INFINITY)) throw invalid(of, option, got, `a number above ${low}`)
}

export const whole = (of: string, option: string, got: number, low: number, high?: number): void => {
  if (!Number.isInteger(got) || got < low || (high !== undefined && got > high))
    throw invalid(
      of,
      option,
      got,
      high === undefined
        ? `a whole number of at least ${low}`
        : low === high
          ? String(low)
          : `a whole number from ${low} to ${high}`,
    )
}
