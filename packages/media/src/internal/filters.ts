/** A filter graph with one input and one or more outputs, pushed and pulled synchronously. */
import { FilterGraph, type FilterContext, type Frame } from "node-av/lib"
import { check, type Cleanup, isDrained } from "./native.ts"

/** What the input of a graph must be told about its frames. */
export interface FrameShape {
  readonly width: number
  readonly height: number
  readonly format: number
  readonly timeBase: { readonly num: number; readonly den: number }
  readonly colorSpace: number
  readonly colorRange: number
}

/** The shape of a decoded frame whose time stamps count in `timeBase`. */
export const shapeOf = (frame: Frame, timeBase: FrameShape["timeBase"]): FrameShape => ({
  width: frame.width,
  height: frame.height,
  format: frame.format,
  timeBase: { num: timeBase.num, den: timeBase.den },
  colorSpace: frame.colorSpace,
  colorRange: frame.colorRange,
})

export const sameShape = (a: FrameShape, b: FrameShape): boolean =>
  a.width === b.width &&
  a.height === b.height &&
  a.format === b.format &&
  a.colorSpace === b.colorSpace &&
  a.colorRange === b.colorRange

/** An open graph. `push` a frame (or null at the end), then `pull` until it says false. */
export class Filters {
  private readonly graph: FilterGraph
  private readonly source: FilterContext
  private readonly sinks: ReadonlyArray<FilterContext>

  /**
   * @param shape the frames that will be pushed; pixels are taken as square, aspect is the caller's business
   * @param description filters in FFmpeg's syntax. Input `[in]`; outputs `[out0]`, `[out1]`, ... as many as `outputs`
   */
  constructor(shape: FrameShape, description: string, outputs = 1) {
    const graph = new FilterGraph()
    this.graph = graph
    graph.alloc()
    try {
      graph.nbThreads = 1
      const ends = Array.from({ length: outputs }, (_, i) => `;[out${i}]buffersink@out${i}`).join("")
      const { timeBase } = shape
      const input =
        `buffer@in=video_size=${shape.width}x${shape.height}:pix_fmt=${shape.format}` +
        `:time_base=${timeBase.num}/${timeBase.den}:colorspace=${shape.colorSpace}:range=${shape.colorRange}[in];`
      check(`parse the filters ${description}`, graph.parsePtr(input + description + ends))
      check(`configure the filters ${description}`, graph.configSync())
      const find = (name: string): FilterContext => {
        const found = graph.getFilter(name)
        if (found === null) throw new Error(`the filter graph has no ${name}`)
        return found
      }
      this.source = find("buffer@in")
      this.sinks = Array.from({ length: outputs }, (_, i) => find(`buffersink@out${i}`))
    } catch (thrown) {
      graph.free()
      throw thrown
    }
  }

  /** Opens a graph that is freed by `cleanup`. */
  static open(cleanup: Cleanup, shape: FrameShape, description: string, outputs = 1): Filters {
    return cleanup.add(new Filters(shape, description, outputs), (filters) => filters.close())
  }

  /** Hands a frame to the graph and keeps the caller's reference valid. */
  push(frame: Frame | null): void {
    // 8 = AV_BUFFERSRC_FLAG_KEEP_REF
    check("filter a frame", this.source.buffersrcAddFrameSync(frame, 8 as never))
  }

  /** Takes the next frame of an output into `frame`; false when there is none for now. */
  pull(frame: Frame, output = 0): boolean {
    frame.unref()
    const sink = this.sinks[output]
    if (sink === undefined) throw new Error(`the filter graph has no output ${output}`)
    return !isDrained("filter a frame", sink.buffersinkGetFrameSync(frame))
  }

  /** The time base of an output's time stamps. */
  timeBase(output = 0): { readonly num: number; readonly den: number } {
    const sink = this.sinks[output]
    if (sink === undefined) throw new Error(`the filter graph has no output ${output}`)
    return sink.buffersinkGetTimeBase()
  }

  close(): void {
    this.graph.free()
  }
}
