/**
 * Numbers per frame, and per sampled frame. All arrays of the first group have `frames` elements, those of
 * `samples` one per sampled frame.
 */
export interface FrameSeries {
  readonly frames: number
  /** Time stamps in seconds from the container's first one; never falling. */
  readonly seconds: Float64Array
  /** Seconds from one frame to the next when nothing is known of the last: 1 / average frame rate. */
  readonly stepSeconds: number
  /** Scene-change score as FFmpeg's scdet defines it, 0-100; a cut is where it is at least about 10. */
  readonly sceneScore: Float32Array
  /** Mean luma, 0 (black) to 255 (white). */
  readonly luma: Float32Array
  /** Share of black pixels, 0-1 (blackdetect's definition, pixel threshold 10 %). */
  readonly dark: Float32Array
  /** Mean absolute luma difference to the frame before, 0-255; 0 for the first. */
  readonly difference: Float32Array
  /**
   * Motion: mean absolute luma difference in levels of 0-255 per 1/24 s. Frames nearer than 1/32 s are compared
   * with an earlier one, and the difference is scaled to 1/24 s, so that 60 and 24 frames a second agree.
   */
  readonly motion: Float32Array
  readonly samples: {
    /** Index of the frame. */
    readonly frame: Uint32Array
    /** blurdetect's mean edge width in pixels of a picture at most 720 lines high; higher is blurrier. NaN without edges. */
    readonly blur: Float32Array
    /** 1 interlaced, 0 progressive, -1 too smooth to say: combing of lines, see `internal/luma.ts`. */
    readonly interlaced: Int8Array
    /** Rectangle inside black bars in coded pixels: x, y, width, height; width 0 for a black frame. Four per sample. */
    readonly box: Uint16Array
  }
  /** Coded size in pixels, the plane that `box` refers to. */
  readonly codedWidth: number
  readonly codedHeight: number
}
