/**
 * What a hundred million clips cost, and a model of thirty billion parameters that is trained on what is left of them:
 * the profile of the graphs `curate` and `train` at that scale.
 *
 *     reel plan curate --pools scale.pools.ts --profile scale.profile.ts --simulate
 *     reel plan train --pools scale.pools.ts --profile scale.profile.ts --simulate
 *
 * Every number says where it is from. "Assumed" means that nobody has measured it: put in yours.
 */
import { Profile } from "@reelgraph/placement"

const sources = 100_000_000

/** Assumed: scraped clips of 13 s on the mean, of 4 Mbit/s. */
const sourceSeconds = 13
const sourceBytes = (sourceSeconds * 4e6) / 8

/** What comes out: 5 s of 1280x720, H.264 crf 18. Measured: 2.9 MB on the mean of the sample corpus. */
const clipBytes = 2.9e6

/** 120 frames of 1280x720 through an autoencoder of 8x8x8, of 16 channels in fp16: 15 x 90 x 160 x 16 x 2 = 6.9 MB. */
const latent = { frames: 120 / 8, height: 720 / 8, width: 1280 / 8 }
const latentBytes = latent.frames * latent.height * latent.width * 16 * 2

/** Caption states: 512 x 4096 in fp16. */
const captionBytes = 512 * 4096 * 2

/** In patches of 1x2x2: 15 x 45 x 80 = 54,000 tokens a clip. */
const tokens = latent.frames * (latent.height / 2) * (latent.width / 2)

/** The transformer: that of Movie Gen (30 billion parameters, 48 layers of width 6144, trained on 6144 H100s). */
const model = { parameters: 30e9, layers: 48, width: 6144 }

/**
 * Operations of a token, forward (2) and backward (4): 6 for every parameter, and in attention 12 x layers x width for
 * every token that it attends to. At 54,000 tokens attention is as much again: 1.8e11 + 1.9e11.
 */
const flopsPerToken = 6 * model.parameters + 12 * model.layers * model.width * tokens

/** Assumed: 100,000 steps of 1536 clips, about two epochs. 154 million clips, 8.3e12 tokens, 3.1e24 operations. */
const trained = { steps: 100_000, batch: 1536 }
const trainingFlops = trained.steps * trained.batch * tokens * flopsPerToken

/** H100 SXM, bf16 without sparsity, from its data sheet. */
const peakFlops = 989e12

/**
 * Operations of encoding a clip, of a causal 3-D autoencoder of base 96 with two residual blocks at a level (Wan's):
 * four convolutions of 3x3x3 from 96 to 96 channels at full size are 1.8e12 a frame, the levels below (twice the
 * channels on a quarter of the pixels) as many, then half and a quarter as time is halved: 5e12 a frame.
 */
const encodingFlops = 120 * 5e12

/** Of an encoder of 5.7 billion parameters (UMT5-XXL) on 512 tokens: 2 for every parameter and token. */
const captionFlops = 2 * 5.7e9 * 512

export default Profile.make({
  currency: "USD",
  items: { videos: sources, captions: sources, vae: 1, initial: 0 },
  /** Assumed: a parallel file system of 400 GB a second. */
  storeBytesPerSecond: 400e9,
  operators: {
    "exact-duplicates": { keep: 0.97, source: "assumed: 3 % uploaded twice" },
    probe: {
      seconds: { mean: 0.17, sigma: 0.5 },
      bytesIn: 1e6,
      source: "0.17 s: 19 calls of `reel run curate` on the sample corpus; assumed: reads 1 MB",
    },
    "ingest-checks": { keep: 0.75, source: "assumed: a quarter is small, short, slow or starved" },
    measure: {
      // 8.0 s for 24.4 s of video, 480p to 1080p, on a machine that others used too: 0.33 s for each second.
      seconds: { mean: 0.33 * sourceSeconds, sigma: 0.7 },
      bytesIn: sourceBytes,
      bytesOut: 6_000,
      source: "`reel run curate` on the sample corpus; sigma assumed, that of durations",
    },
    damaged: { keep: 0.99, source: "assumed" },
    jitter: { keep: 0.97, source: "assumed" },
    "split-clips": {
      seconds: { mean: 0.03, sigma: 0.3 },
      keep: 0.85,
      out: 1.8,
      outSpread: 0.6,
      source: "0.03 s: `reel run curate` on the sample corpus; assumed: 1.8 windows of 5 s inside shots",
    },
    black: { keep: 0.99, source: "assumed" },
    motion: { keep: 0.85, source: "assumed: still, slow-motion and shaking" },
    blurry: { keep: 0.9, source: "assumed" },
    standardize: {
      // 30.7 s for 15 clips on two cores.
      seconds: { mean: (30.7 * 2) / 15, sigma: 0.35 },
      bytesIn: sourceBytes,
      bytesOut: clipBytes,
      failing: 0.001,
      poison: 0.0002,
      source: "bench/standardize.md; sigma and failures assumed",
    },
    "near-duplicates": {
      // Compares clips with clips: 0.66 s for 2,000, 5.7 s for 8,000, which is days for millions. This is what an index
      // of parts of the hashes would take, as published systems use one.
      seconds: 50e-6,
      keep: 0.9,
      source: "assumed: with an index",
    },
    "attach-captions": { source: "a look-up" },
    "sample-frames": {
      // 244 frames a second. Assumed: frames stay on the node; in the store they would be 332 MB a clip.
      seconds: { mean: 120 / 244, sigma: 0.2 },
      bytesIn: clipBytes,
      source: "decoding as measured on one core",
    },
    "encode-latents": {
      compute: { flops: encodingFlops, peakFlops, utilization: 0.3 },
      startupSeconds: 20,
      bytesOut: latentBytes,
      source: "operations as above; assumed: convolutions reach 30 % of the peak",
    },
    "embed-captions": {
      compute: { flops: captionFlops, peakFlops, utilization: 0.4 },
      startupSeconds: 60,
      bytesOut: captionBytes,
      source: "operations as above; assumed: 40 % of the peak",
    },
    train: {
      compute: { flops: trainingFlops, peakFlops, utilization: 0.38 },
      startupSeconds: 300,
      // About the square root of 2 x (30 s to write one) x (the 8.4 hours between failures): Young 1974.
      checkpointSeconds: 1200,
      emits: 1,
      // Each clip about twice.
      bytesIn: 2 * (latentBytes + captionBytes),
      source:
        "operations as above; 38 %: Llama 3 reports 38 to 43 % on 16,384 H100s; begins in five minutes: assumed",
    },
  },
  overheads: {
    // Llama 3: 419 unexpected interruptions in 54 days of 2048 nodes: 2048 x 54 x 24 / 419 hours for one node.
    nodeFailureHours: 6335,
    // Noticing it, and a spare node in its place. Assumed.
    lostSeconds: 300,
  },
})
