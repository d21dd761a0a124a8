/** Captions from text files that lie beside the videos. */
import { drop, Operator, type Port } from "@reelgraph/core"
import { BlobStore } from "@reelgraph/store"
import * as Effect from "effect/Effect"

import { CaptionedClip, CaptionFile, Clip } from "../ports/index.ts"

/** Bytes of a file, characters of a caption and captions of a clip, at most. */
const maxBytes = 65_536
const maxCharacters = 2000
const maxCaptions = 16

type File = Port.RecordOf<typeof CaptionFile>

const stem = (name: string): string => name.replace(/\.[^.]*$/, "")

/** Files by base name, made once for all calls of a run: they are given the same array. */
const indices = new WeakMap<ReadonlyArray<File>, ReadonlyMap<string, ReadonlyArray<File>>>()

const filesOf = (files: ReadonlyArray<File>, name: string): ReadonlyArray<File> => {
  let index = indices.get(files)
  if (index === undefined) {
    index = Map.groupBy(files, (file) => stem(file.name))
    indices.set(files, index)
  }
  return index.get(stem(name)) ?? []
}

const decoder = new TextDecoder("utf-8", { fatal: true })

/** The captions in a text, or what is wrong with it. */
const captionsIn = (text: string): ReadonlyArray<string> | string => {
  const lines = text.split(/\r\n|\n|\r/).map((line) => line.trim())
  const control = lines.findIndex((line) => /\p{Cc}/u.test(line))
  if (control >= 0) return `has a control character in line ${control + 1}`
  const long = lines.findIndex((line) => line.length > maxCharacters)
  if (long >= 0)
    return `has ${lines[long]!.length} characters in line ${long + 1}, and at most ${maxCharacters} are read`
  const captions = lines.filter((line) => line !== "")
  return captions.length > maxCaptions
    ? `has ${captions.length} captions, and at most ${maxCaptions} are read`
    : captions
}

/**
 * Gives clips the captions of the text file with the base name of their source: `beach.txt` for `beach.mp4`, UTF-8,
 * one caption in each line. Clips without a file, with two different ones, or with one that is no such text are
 * dropped.
 *
 * Runs in this process: a call reads one small file, and sending the list of all of them to another process would
 * cost more.
 */
export const AttachCaptions = Operator.map("attach-captions", {
  version: "1.0.0",
  description: "Gives clips the captions of the text file beside their source",
  input: Clip,
  output: CaptionedClip,
  sides: { captions: Operator.all(CaptionFile) },
  needs: [BlobStore],
  run: (clip, _, { sides }) =>
    Effect.gen(function* () {
      const bad = (detail: string) => drop("bad-caption", detail)
      const [first, ...others] = filesOf(sides.captions, clip.name)
      if (first === undefined) return yield* drop("no-caption", `there is no ${stem(clip.name)}.txt`)
      const other = others.find(({ file }) => file.sha256 !== first.file.sha256)
      if (other !== undefined)
        return yield* drop("ambiguous-caption", `${first.name} is there more than once, with different text`)
      if (first.file.bytes > maxBytes)
        return yield* bad(`${first.name} has ${first.file.bytes} bytes, and at most ${maxBytes} are read`)
      const bytes = yield* BlobStore.use((blobs) => blobs.get(first.file, { maxBytes }))
      const text = yield* Effect.try({
        try: () => decoder.decode(bytes),
        catch: () => bad(`${first.name} is not UTF-8`),
      })
      const captions = captionsIn(text)
      if (typeof captions === "string") return yield* bad(`${first.name} ${captions}`)
      if (captions.length === 0) return yield* drop("no-caption", `${first.name} is empty`)
      return { ...clip, captions }
    }),
})
