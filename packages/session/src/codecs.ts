import type { Codec } from "@scoutsync/core";

/** What this program can read, best first. */
export const CODECS: readonly Codec[] = ["zstd", "identity"];
