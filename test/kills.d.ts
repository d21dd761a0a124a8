import { Graph } from "@reelgraph/core";
import * as Effect from "effect/Effect";
import { type Curation } from "./curation.ts";
/** `curate` with an encoder in a hurry. */
export declare const hurried: Graph.Graph<"curate", "clips">;
/** A few files of the sample corpus, rendered into `folder`. */
export declare const smallCorpus: (folder: string) => Effect.Effect<string, import("@reelgraph/media/MediaError").EncodeError, never>;
/** What became of a driver. */
export interface Driven {
    /** True when it was killed, false when it ended before that. */
    readonly killed: boolean;
    /** Milliseconds from the beginning of the run to its end. */
    readonly ms: number;
    /** Its worker processes that were there when it was killed. */
    readonly workers: ReadonlyArray<number>;
}
/** Runs a driver, and kills it `afterMs` after its run has begun. */
export declare const drive: (folder: string, store: string, afterMs?: number) => Effect.Effect<Driven, never, never>;
/** One kill and the run after it. Empty lists and true are how it should be. */
export interface Trial {
    readonly afterMs: number;
    readonly killed: boolean;
    /** Results committed when the process was killed, and what of it the next run made again, by operator. */
    readonly committed: Readonly<Record<string, number>>;
    readonly madeAgain: ReadonlyArray<string>;
    readonly survivors: ReadonlyArray<number>;
    readonly leftInTmp: ReadonlyArray<string>;
    /** Blobs that results name and that are missing or damaged. */
    readonly lostBlobs: ReadonlyArray<string>;
    /** Blobs in the store that are damaged. */
    readonly damagedBlobs: ReadonlyArray<string>;
    readonly imbalances: ReadonlyArray<string>;
    readonly sameClips: boolean;
    readonly sameFates: boolean;
    readonly repeatedOutputs: number;
}
/** Kills a run in a new store, runs again to the end, and compares with a run that nobody disturbed. */
export declare const killTrial: (folder: string, store: string, afterMs: number, undisturbed: Curation) => Effect.Effect<{
    afterMs: number;
    killed: boolean;
    committed: Record<string, number>;
    madeAgain: string[];
    survivors: number[];
    leftInTmp: string[];
    lostBlobs: string[];
    damagedBlobs: string[];
    imbalances: readonly string[];
    sameClips: boolean;
    sameFates: boolean;
    repeatedOutputs: number;
}, import("@reelgraph/core/Verify").GraphInvalid | import("@reelgraph/engine/RunError").InputsMismatch | import("@reelgraph/store").JournalError | import("@reelgraph/store").JournalNewer | import("@reelgraph/store").NotAStore | import("@reelgraph/store").OutOfSpace | import("@reelgraph/engine/RunError").RecordInvalid | import("@reelgraph/engine/RunError").SideCount | import("@reelgraph/store").SourceChanged | import("@reelgraph/store").SourceMissing | import("@reelgraph/store").SourceUnreadable | import("@reelgraph/store").StoreUnreadable | import("@reelgraph/store").StoreUnwritable | import("@reelgraph/store").StoreVersionUnsupported | import("@reelgraph/engine/RunError").TooManyFailures, never>;
/** Everything that is not as it should be in a trial, in words. */
export declare const faults: (trial: Trial) => ReadonlyArray<string>;
//# sourceMappingURL=kills.d.ts.map