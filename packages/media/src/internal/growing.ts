/** A typed array that grows by doubling. */
type Numbers = Float64Array | Float32Array | Uint32Array | Uint16Array | Int8Array

/** Appends numbers; `take` gives an array of exactly the appended length. */
export class Growing<A extends Numbers> {
  private data: A
  private readonly make: (length: number) => A
  length = 0
  constructor(make: (length: number) => A) {
    this.make = make
    this.data = make(1024)
  }
  push(...values: ReadonlyArray<number>): void {
    for (const value of values) {
      if (this.length === this.data.length) {
        const larger = this.make(this.data.length * 2)
        larger.set(this.data)
        this.data = larger
      }
      this.data[this.length++] = value
    }
  }
  take(): A {
    const exact = this.make(this.length)
    exact.set(this.data.subarray(0, this.length))
    return exact
  }
}
