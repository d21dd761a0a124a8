import type { Graph } from "@reelgraph/core";
import { Engine } from "@reelgraph/engine";
import { Clip } from "@reelgraph/operators/ports";
import { BlobStore, Journal } from "@reelgraph/store";
import * as Effect from "effect/Effect";
import * as Layer from "effect/Layer";
import * as Stream from "effect/Stream";
/** What curation tests need of the real files described in SOURCES.md; undefined when they are not there. */
export declare const realVideos: string | undefined;
/** A folder that is removed when the scope closes. */
export declare const temporaryFolder: Effect.Effect<string, never, import("effect/Scope").Scope>;
/** A store with worker processes, as `reel` puts them together. Tests do without fsync. */
export declare const storeAndWorkers: (store: string) => Layer.Layer<BlobStore | Journal | import("@reelgraph/store").Scratch | import("@reelgraph/engine").Workers, import("@reelgraph/store").JournalError | import("@reelgraph/store").JournalNewer | import("@reelgraph/store").OpenError, never>;
type Clip = (typeof Clip)["record"]["Type"];
/** Where the way of a file, or of one of its windows, ended: dropped or failed, at a node, for a reason. */
export interface End {
    readonly name: string;
    readonly how: "dropped" | "failed";
    readonly node: string;
    readonly reason: string;
    readonly detail: string;
    /** Start of the window in seconds, once there are windows. */
    readonly seconds: number | undefined;
}
export interface Curation {
    readonly report: Engine.Report;
    readonly ends: ReadonlyArray<End>;
    /** Sorted by name and time. */
    readonly clips: ReadonlyArray<Clip>;
}
/** Names of the files of a folder, sorted. */
export declare const filesOf: (folder: string) => ReadonlyArray<string>;
/** The files of a folder as records for the graph's input, registered in the store. */
export declare const sourcesOf: (folder: string, names?: ReadonlyArray<string>) => Stream.Stream<{
    readonly name: string;
    readonly file: {
        readonly _tag: "Artifact";
        readonly sha256: string;
        readonly bytes: number;
        readonly mediaType: string;
    };
}, import("@reelgraph/store").StoreUnreadable | import("@reelgraph/store").PutError | import("@reelgraph/store").SourceError, BlobStore>;
/** What a run left in the journal. */
export declare const curationOf: (report: Engine.Report) => Effect.Effect<{
    report: Engine.Report;
    ends: End[];
    clips: {
        readonly name: string;
        readonly source: {
            readonly _tag: "Artifact";
            readonly sha256: string;
            readonly bytes: number;
            readonly mediaType: string;
        };
        readonly window: {
            readonly shot: number;
            readonly startSeconds: number;
            readonly endSeconds: number;
        };
        readonly clip: {
            readonly _tag: "Artifact";
            readonly sha256: string;
            readonly bytes: number;
            readonly mediaType: string;
        };
        readonly width: number;
        readonly height: number;
        readonly fps: number;
        readonly frames: number;
        readonly sourceFrames: number;
        readonly summary: {
            readonly frames: number;
            readonly blackShare: number;
            readonly longestFreezeSeconds: number;
            readonly staticShare: number;
            readonly motionLow: number;
            readonly motionMedian: number;
            readonly motionHigh: number;
            readonly blurMedian: number;
            readonly blurry: boolean;
            readonly interlacedShare: number;
            readonly crop: {
                readonly x: number;
                readonly y: number;
                readonly width: number;
                readonly height: number;
            } | null;
            readonly cutsPerSecond: number;
            readonly lumaMean: number;
        };
        readonly fingerprint: readonly {
            readonly seconds: number;
            readonly hash: string;
            readonly quality: number;
        }[];
    }[];
}, never, Journal>;
/** Runs a graph with curate's input and output over the files of a folder. */
export declare const curateFolder: (folder: string, graph?: Graph.Graph<string, string> | undefined, names?: readonly string[] | undefined) => Effect.Effect<{
    report: Engine.Report;
    ends: End[];
    clips: {
        readonly name: string;
        readonly source: {
            readonly _tag: "Artifact";
            readonly sha256: string;
            readonly bytes: number;
            readonly mediaType: string;
        };
        readonly window: {
            readonly shot: number;
            readonly startSeconds: number;
            readonly endSeconds: number;
        };
        readonly clip: {
            readonly _tag: "Artifact";
            readonly sha256: string;
            readonly bytes: number;
            readonly mediaType: string;
        };
        readonly width: number;
        readonly height: number;
        readonly fps: number;
        readonly frames: number;
        readonly sourceFrames: number;
        readonly summary: {
            readonly frames: number;
            readonly blackShare: number;
            readonly longestFreezeSeconds: number;
            readonly staticShare: number;
            readonly motionLow: number;
            readonly motionMedian: number;
            readonly motionHigh: number;
            readonly blurMedian: number;
            readonly blurry: boolean;
            readonly interlacedShare: number;
            readonly crop: {
                readonly x: number;
                readonly y: number;
                readonly width: number;
                readonly height: number;
            } | null;
            readonly cutsPerSecond: number;
            readonly lumaMean: number;
        };
        readonly fingerprint: readonly {
            readonly seconds: number;
            readonly hash: string;
            readonly quality: number;
        }[];
    }[];
}, import("@reelgraph/store").StoreUnreadable | import("@reelgraph/store").PutError | Engine.RunError | import("@reelgraph/store").SourceError, BlobStore | Journal | import("@reelgraph/engine").Workers>;
/** `name node reason` or `name clip`, one line for each file or window, without repeats, sorted. */
export declare const fates: ({ clips, ends }: Curation) => ReadonlyArray<string>;
/** Digests of the clips, in order: what has to be the same after every kind of rerun. */
export declare const digests: ({ clips }: Curation) => ReadonlyArray<string>;
/** Decodes every clip of a run and compares it with the standard; fails with what differs. */
export declare const verifyClips: ({ clips }: Curation) => Effect.Effect<{
    readonly frames: number;
    readonly width: number;
    readonly height: number;
    readonly fps: number;
    readonly constantRate: boolean;
    readonly codec: string;
    readonly pixelFormat: string;
    readonly range: string;
    readonly primaries: string;
    readonly transfer: string;
    readonly matrix: string;
    readonly sampleAspectRatio: readonly [number, number];
    readonly rotation: number;
    readonly audioStreams: number;
    readonly damagedFrames: number;
}[], import("@reelgraph/media/MediaError").ClipMismatch | import("@reelgraph/media/MediaError").DecodeError | import("@reelgraph/store").PutError | import("@reelgraph/store").ReadError, BlobStore>;
export {};
//# sourceMappingURL=curation.d.ts.map