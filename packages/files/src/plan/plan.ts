import {
  equalVectors,
  isCovered,
  join,
  type Origin,
  type VersionVector,
  equalLosers,
  joinLosers,
  sameContent,
  type FileEntry,
  type FileLoser,
} from "@scoutsync/core";

/**
 * What a node does about an entry of another one. `row` is what its manifest says afterwards; what it takes to get there
 * on disk is the apply's part.
 *
 * | relation of versions    | content                  | step                                        |
 * | ----------------------- | ------------------------ | ------------------------------------------- |
 * | nothing here            | live / tombstone         | take / note                                 |
 * | any                     | the same                 | join: vectors and losers, no bytes          |
 * | theirs covers ours      | live                     | take                                        |
 * | theirs covers ours      | tombstone                | remove                                      |
 * | ours covers theirs      |                          | nothing (losers join)                       |
 * | concurrent, or one      | ours live, theirs gone   | keep, by a version that covers both         |
 * | version for two things  | ours gone, theirs live   | take, by a version that covers both         |
 * |                         | both live                | settle: the later keeps the name, the other |
 * |                         |                          | is a loser; by a version that covers both   |
 */
export type Plan =
  | { step: "nothing" }
  /** Only what the manifest knows changes. */
  | { step: "join" | "keep" | "note"; row: FileEntry }
  /** Theirs comes into place; what was there goes into the store. */
  | { step: "take" | "remove"; row: FileEntry }
  /** A conflict. `loser` is null where no bytes lose: a folder, or only the mode differs. */
  | { step: "settle"; winner: "ours" | "theirs"; row: FileEntry; loser: FileLoser | null };

/** Who plans, and when: the next version of a resolver exceeds both its own last one and the clock. */
export interface Planner {
  /** This manifest's author in version vectors. */
  author: Origin;
  /** Unix microseconds. */
  nowUs: number;
}

/** Pure and deterministic: the same two entries give the same winner on every node, whoever is `ours`. */
export function plan(ours: FileEntry | null, theirs: FileEntry, planner: Planner): Plan {
  if (!ours) return { step: theirs.kind === "gone" ? "note" : "take", row: theirs };
  const losers = joinLosers(ours.losers, theirs.losers);
  if (sameContent(ours, theirs)) return joined(ours, theirs, losers);
  const theirsIsNewer = isCovered(ours.version, theirs.version);
  const oursIsNewer = isCovered(theirs.version, ours.version);
  // Versions that are equal and stand for two things should not exist; if they do, nothing may be lost by it.
  if (theirsIsNewer && !oursIsNewer) return { step: theirs.kind === "gone" ? "remove" : "take", row: { ...theirs, losers } };
  if (oursIsNewer && !theirsIsNewer)
    return equalLosers(losers, ours.losers) ? { step: "nothing" } : { step: "join", row: { ...ours, losers } };
  const version = next(join(ours.version, theirs.version), planner);
  if (theirs.kind === "gone") return { step: "keep", row: { ...ours, version, losers } };
  if (ours.kind === "gone") return { step: "take", row: { ...theirs, version, losers } };
  return settle(ours, theirs, version, losers, planner);
}

/** The version of an edit that knew `known`. */
export function next(known: VersionVector, { author, nowUs }: Planner): VersionVector {
  const bumped = new Map(known);
  bumped.set(author, Math.max((known.get(author) ?? 0) + 1, Math.floor(nowUs / 1_000_000)));
  return bumped;
}

function joined(ours: FileEntry, theirs: FileEntry, losers: readonly FileLoser[]): Plan {
  const version = join(ours.version, theirs.version);
  const knowsMore = !equalVectors(version, ours.version);
  if (!knowsMore && equalLosers(losers, ours.losers)) return { step: "nothing" };
  // Whichever version covers the other names its author; of concurrent ones the later.
  const source =
    isCovered(ours.version, theirs.version) || (!isCovered(theirs.version, ours.version) && later(theirs, ours)) ? theirs : ours;
  const { stampUs, author, before, cause } = source;
  return { step: "join", row: { ...ours, version, stampUs, author, before, cause, losers } };
}

/** A folder keeps its name against a file, since other files live in it; of two files the later written, then the larger hash. */
function later(a: FileEntry, b: FileEntry): boolean {
  if (a.kind !== b.kind) return a.kind === "folder";
  if (a.stampUs !== b.stampUs) return a.stampUs > b.stampUs;
  if (a.hash !== b.hash) return a.hash > b.hash;
  return a.mode > b.mode;
}

function settle(ours: FileEntry, theirs: FileEntry, version: VersionVector, losers: readonly FileLoser[], { nowUs }: Planner): Plan {
  const winner = later(theirs, ours) ? "theirs" : "ours";
  const [kept, lost] = winner === "ours" ? [ours, theirs] : [theirs, ours];
  const loser: FileLoser | null =
    lost.kind !== "file" || lost.hash === kept.hash
      ? null
      : {
          hash: lost.hash,
          size: lost.size,
          author: lost.author,
          stampUs: lost.stampUs,
          sinceUs: nowUs,
          winner: kept.hash,
          winnerAuthor: kept.author,
          winnerStampUs: kept.stampUs,
          resolved: false,
        };
  return { step: "settle", winner, row: { ...kept, version, losers: loser ? joinLosers(losers, [loser]) : losers }, loser };
}
