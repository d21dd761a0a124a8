/**
 * Drawn landscapes that move: what the sample corpus shows. Ridges of hills in layers that pass at different
 * speeds, a city skyline, a sun, and balls that bounce. All from integer noise, so that every machine draws the
 * same.
 *
 * A picture is planar YUV 4:2:0, BT.709 limited range, rows packed: Y [h, w], U and V [h/2, w/2].
 */

export interface Picture {
  readonly width: number
  readonly height: number
  readonly y: Uint8Array
  readonly u: Uint8Array
  readonly v: Uint8Array
  /** The three planes one after the other. */
  readonly bytes: Buffer
}

export const newPicture = (width: number, height: number): Picture => {
  const luma = width * height
  const bytes = Buffer.alloc((luma * 3) / 2)
  return {
    width,
    height,
    bytes,
    y: bytes.subarray(0, luma),
    u: bytes.subarray(luma, luma + luma / 4),
    v: bytes.subarray(luma + luma / 4),
  }
}

type Rgb = readonly [number, number, number]

/** A hash of two integers, 0-1 (the finaliser of MurmurHash3). */
const random = (x: number, seed: number): number => {
  let h = Math.imul(x | 0, 0xcc9e2d51) ^ Math.imul(seed | 0, 0x1b873593)
  h = Math.imul(h ^ (h >>> 16), 0x85ebca6b)
  h = Math.imul(h ^ (h >>> 13), 0xc2b2ae35)
  return ((h ^ (h >>> 16)) >>> 0) / 2 ** 32
}

/** Smooth noise on a line, -1 to 1. */
const smooth = (x: number, seed: number): number => {
  const i = Math.floor(x)
  const f = x - i
  const s = f * f * (3 - 2 * f)
  return (random(i, seed) * (1 - s) + random(i + 1, seed) * s) * 2 - 1
}

const mix = (a: Rgb, b: Rgb, t: number): Rgb => [
  a[0] + (b[0] - a[0]) * t,
  a[1] + (b[1] - a[1]) * t,
  a[2] + (b[2] - a[2]) * t,
]

/** Writes an RGB colour (0-255) as BT.709 limited range; chroma at even pixels. */
const put = (picture: Picture, x: number, y: number, [r, g, b]: Rgb): void => {
  picture.y[y * picture.width + x] = 16.5 + 0.1826 * r + 0.6142 * g + 0.062 * b
  if ((x | y) & 1) return
  const at = (y >> 1) * (picture.width >> 1) + (x >> 1)
  picture.u[at] = 128.5 - 0.1006 * r - 0.3386 * g + 0.4392 * b
  picture.v[at] = 128.5 + 0.4392 * r - 0.3989 * g - 0.0403 * b
}

export interface Palette {
  readonly top: Rgb
  readonly horizon: Rgb
  readonly sun: Rgb
  readonly far: Rgb
  readonly near: Rgb
  readonly ball: Rgb
}

export const palettes = {
  noon: {
    top: [64, 130, 214],
    horizon: [198, 226, 240],
    sun: [255, 250, 214],
    far: [122, 160, 176],
    near: [44, 110, 52],
    ball: [232, 92, 60],
  },
  dusk: {
    top: [38, 24, 70],
    horizon: [236, 122, 72],
    sun: [255, 206, 120],
    far: [98, 58, 96],
    near: [28, 20, 42],
    ball: [120, 222, 226],
  },
  desert: {
    top: [96, 160, 200],
    horizon: [250, 226, 178],
    sun: [255, 255, 240],
    far: [214, 164, 112],
    near: [168, 92, 48],
    ball: [40, 90, 160],
  },
  winter: {
    top: [150, 176, 200],
    horizon: [236, 240, 246],
    sun: [255, 255, 255],
    far: [176, 192, 210],
    near: [226, 232, 240],
    ball: [180, 40, 70],
  },
  night: {
    top: [8, 12, 34],
    horizon: [34, 46, 92],
    sun: [226, 230, 240],
    far: [24, 32, 66],
    near: [10, 14, 28],
    ball: [250, 210, 90],
  },
} as const satisfies Readonly<Record<string, Palette>>

export type PaletteName = keyof typeof palettes

/** A layer that passes: for each column of an endless strip the height of its edge and its colour. */
interface Layer {
  /** Pixels a frame. */
  readonly speed: number
  readonly edge: (x: number) => number
  readonly colour: (x: number, y: number, edge: number) => Rgb
}

const ridge = (
  height: number,
  seed: number,
  level: number,
  rough: number,
  base: Rgb,
  speed: number,
): Layer => ({
  speed,
  edge: (x) => {
    let sum = 0
    for (let octave = 0, size = 240, gain = 1; octave < 5; octave++, size /= 2, gain /= 2) {
      sum += smooth(x / size, seed + octave) * gain
    }
    return Math.floor(height * (level + rough * sum))
  },
  colour: (x, y, edge) => {
    const grain = (random(Math.imul(x, 7919) + y, seed) - 0.5) * 26
    const patch = smooth(x / 23 + y / 9, seed + 11) * smooth(y / 17, seed + 12) * 40
    const light = Math.max(0, 22 - (y - edge)) * 2
    const shade = grain + patch + light
    return [base[0] + shade, base[1] + shade, base[2] + shade * 0.8]
  },
})

const skyline = (height: number, seed: number, base: Rgb, lit: Rgb, speed: number): Layer => {
  const side = 52
  return {
    speed,
    edge: (x) => Math.floor(height * (0.42 + 0.4 * random(Math.floor(x / side), seed))),
    colour: (x, y, edge) => {
      const inHouse = ((x % side) + side) % side
      const window = inHouse % 10 > 2 && inHouse % 10 < 8 && (y - edge) % 14 > 4 && (y - edge) % 14 < 11
      const on = random(Math.floor(x / 10) * 977 + Math.floor((y - edge) / 14), seed + 3) > 0.45
      const tone =
        (random(Math.floor(x / side), seed + 5) - 0.5) * 40 + (random(Math.imul(x, 31) + y, seed) - 0.5) * 10
      if (window && on && inHouse < side - 3) return lit
      return [base[0] + tone, base[1] + tone, base[2] + tone]
    },
  }
}

export interface SceneOptions {
  readonly width: number
  readonly height: number
  readonly palette: PaletteName
  readonly seed: number
  readonly city?: boolean
  /** Balls that bounce. @default 3 */
  readonly balls?: number
  /** Frames per second: motion is per second. @default 24 */
  readonly fps?: number
  /** Frames that will be drawn. */
  readonly frames: number
}

const clampRgb = (value: number): number => (value < 0 ? 0 : value > 255 ? 255 : value)

/** A scene: `draw(picture, frame)` paints frame number `frame`. */
export const scene = (options: SceneOptions): ((into: Picture, frame: number) => void) => {
  const { width, height, seed } = options
  const palette = palettes[options.palette]
  const pace = 24 / (options.fps ?? 24)
  const sky = newPicture(width, height)
  const sunX = width * (0.2 + 0.6 * random(1, seed))
  const sunY = height * (0.14 + 0.14 * random(2, seed))
  const sunR = height * 0.07
  for (let y = 0; y < height; y++) {
    for (let x = 0; x < width; x++) {
      const near = Math.sqrt((x - sunX) ** 2 + (y - sunY) ** 2) / sunR
      const base = mix(palette.top, palette.horizon, Math.min(1, y / (height * 0.7)))
      const glow = near < 1 ? 1 : 0.5 / (near * near)
      const star = options.palette === "night" && random(Math.imul(y, 4093) + x, seed + 9) > 0.9985 ? 180 : 0
      const cloud = Math.max(0, smooth(x / 90, seed + 20) + smooth(y / 24 + x / 160, seed + 21) - 0.5) * 36
      const [r, g, b] = mix(base, palette.sun, glow)
      put(sky, x, y, [clampRgb(r + cloud + star), clampRgb(g + cloud + star), clampRgb(b + cloud + star)])
    }
  }
  const layers: ReadonlyArray<Layer> = options.city
    ? [
        ridge(height, seed + 30, 0.5, 0.08, palette.far, 1),
        skyline(height, seed + 40, mix(palette.far, palette.near, 0.6), palette.sun, 3),
      ]
    : [
        ridge(height, seed + 30, 0.46, 0.13, palette.far, 1),
        ridge(height, seed + 40, 0.62, 0.12, mix(palette.far, palette.near, 0.5), 2.5),
        ridge(height, seed + 50, 0.82, 0.1, palette.near, 6),
      ]
  // Each layer is painted once, on a strip as long as it passes.
  const strips = layers.map((layer) => {
    const length = (width + Math.ceil(layer.speed * pace * options.frames) + 3) & ~1
    const strip = newPicture(length, height)
    const edges = new Int32Array(length)
    for (let x = 0; x < length; x++) {
      const edge = layer.edge(x)
      edges[x] = edge
      for (let y = Math.max(0, edge); y < height; y++) {
        const [r, g, b] = layer.colour(x, y, edge)
        put(strip, x, y, [clampRgb(r), clampRgb(g), clampRgb(b)])
      }
    }
    return { strip, edges, speed: layer.speed }
  })
  const balls = Array.from({ length: options.balls ?? 3 }, (_, i) => ({
    x: random(i, seed + 60),
    speed: (0.3 + random(i, seed + 61)) * 9,
    bounce: 0.25 + 0.35 * random(i, seed + 62),
    period: 22 + Math.floor(random(i, seed + 63) * 26),
    radius: height * (0.035 + 0.035 * random(i, seed + 64)),
  }))
  return (into, index) => {
    const t = index * pace
    into.bytes.set(sky.bytes)
    const half = width >> 1
    const views = strips.map(({ strip, edges, speed }) => {
      const shift = Math.floor(t * speed) & ~1
      const seen = edges.subarray(shift, shift + width)
      return { strip, shift, seen, highest: Math.max(0, Math.min(...seen)), lowest: Math.max(0, ...seen) }
    })
    views.forEach(({ strip, shift, seen, highest, lowest }, index) => {
      // Rows that a nearer layer covers from side to side are not drawn.
      const covered = Math.min(height, ...views.slice(index + 1).map((view) => view.lowest))
      for (let y = highest; y < covered; y++) {
        const to = y * width
        const from = y * strip.width + shift
        const toChroma = (y >> 1) * half
        const fromChroma = (y >> 1) * (strip.width >> 1) + (shift >> 1)
        if (y >= lowest) {
          into.y.set(strip.y.subarray(from, from + width), to)
          if (y & 1) continue
          into.u.set(strip.u.subarray(fromChroma, fromChroma + half), toChroma)
          into.v.set(strip.v.subarray(fromChroma, fromChroma + half), toChroma)
          continue
        }
        for (let x = 0; x < width; x++) {
          if (y < (seen[x] as number)) continue
          into.y[to + x] = strip.y[from + x] as number
          if ((x | y) & 1) continue
          into.u[toChroma + (x >> 1)] = strip.u[fromChroma + (x >> 1)] as number
          into.v[toChroma + (x >> 1)] = strip.v[fromChroma + (x >> 1)] as number
        }
      }
    })
    for (const ball of balls) {
      const phase = ((t / ball.period) % 1) * 2 - 1
      const cx = ((ball.x * width + t * ball.speed) % (width + 4 * ball.radius)) - 2 * ball.radius
      const cy = height * (0.93 - ball.bounce * (1 - phase * phase)) - ball.radius
      disc(into, cx, cy, ball.radius, palette.ball)
    }
  }
}

/** A ball with stripes, lit from the upper left. */
const disc = (into: Picture, cx: number, cy: number, radius: number, colour: Rgb): void => {
  const { width, height } = into
  for (let y = Math.max(0, Math.ceil(cy - radius)); y < Math.min(height, cy + radius); y++) {
    for (let x = Math.max(0, Math.ceil(cx - radius)); x < Math.min(width, cx + radius); x++) {
      const dx = (x - cx) / radius
      const dy = (y - cy) / radius
      const d = dx * dx + dy * dy
      if (d >= 1) continue
      const light = 0.45 + 0.55 * Math.max(0, (-0.5 * dx - 0.6 * dy + Math.sqrt(1 - d)) / 1.3)
      const stripe = ((dx + dy + 4) * 3) % 2 < 1 ? 1 : 0.72
      const shade = light * stripe * 1.15
      put(into, x, y, [clampRgb(colour[0] * shade), clampRgb(colour[1] * shade), clampRgb(colour[2] * shade)])
    }
  }
}
