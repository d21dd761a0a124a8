/** The text encoder of this process: reading it takes longer than running it. */
import * as TextModel from "@reelgraph/models/TextModel"

import { kept } from "./kept.ts"

/** For texts of up to so many tokens. */
export const textModel = kept((maxTokens: number) => TextModel.open({ provider: "cpu", maxTokens }))
