import { createHash } from "node:crypto";
import { SyncError, type Review, type FileEntry, type FileLoser } from "@scoutsync/core";
import { ownEntry, plannerOf, type RootContext } from "../context.ts";
import { entryOf, State, type ManifestRow } from "../manifest/rows.ts";
import { next } from "../plan/plan.ts";
import type { Placement } from "../apply/placement.ts";
import type { Deletions } from "../scan/deletions.ts";
import type { Scanner } from "../scan/scanner.ts";

const ID_CHARACTERS = 16;
const MAX_LOOKS = 4;

export type Decision = "winner" | "loser" | "release" | "undo";

/** What of a root may want a person, and what becomes of a decision. */
export class FileReviews {
  private readonly context: RootContext;
  private readonly placement: Placement;
  private readonly deletions: Deletions;
  private readonly scanner: Scanner;

  constructor(context: RootContext, parts: { placement: Placement; deletions: Deletions; scanner: Scanner }) {
    this.context = context;
    this.placement = parts.placement;
    this.deletions = parts.deletions;
    this.scanner = parts.scanner;
  }

  /** `problem` is why the root cannot be used, "" when it can. */
  list(problem: string): Review[] {
    const { manifest } = this.context;
    const reviews: Review[] = [];
    if (problem !== "") reviews.push(this.entry(this.id("root"), "", problem, this.context.nowUs()));
    const { brake } = this.deletions;
    if (brake) {
      const reason = `${brake.files} of ${brake.of} files are missing at once; nobody else deletes them before this is decided (--release, or --undo to fetch them again)`;
      reviews.push(this.entry(this.id("brake"), "", reason, brake.sinceUs));
    }
    for (const row of manifest.inState(State.suspect)) {
      const reason =
        "holds other bytes under the time it had: a disk or a crash did that; it is fetched again from another node, or taken for an edit (--keep loser)";
      reviews.push({ ...this.entry(this.id("suspect", row.path), row.path, reason, row.recordedUs), winner: versionOf(row) });
    }
    for (const row of manifest.withLosers()) {
      for (const loser of row.losers) if (!loser.resolved) reviews.push(this.conflict(row, loser));
    }
    for (const object of manifest.lateObjects()) {
      const row = manifest.row(object.path);
      if (!row || row.losers.some(({ hash }) => hash === object.hash)) continue;
      const reason = "a program went on writing into a version after it had been replaced; these bytes are in the store";
      const loser = { value: object.hash, author: object.author, timeUs: object.modifiedUs, dot: "" };
      reviews.push({ ...this.entry(this.id("late", object.id), object.path, reason, object.storedUs), winner: versionOf(row), loser });
    }
    return reviews;
  }

  /** Carries a decision out. Null when there is no such entry. "root" is the caller's to release. */
  async resolve(id: string, decision: Decision): Promise<Review | null> {
    const found = this.list("").find((review) => review.id === id);
    if (!found) return null;
    const isBrake = id === this.id("brake");
    if (isBrake !== (decision === "release" || decision === "undo")) {
      throw new SyncError({
        code: "INVALID_ARGUMENT",
        message: isBrake ? "a mass delete is released or undone" : "of two versions of a file one is kept",
        action: isBrake ? "Give --release or --undo." : "Give --keep winner or --keep loser.",
      });
    }
    if (decision === "release") this.deletions.confirm({ released: true });
    else if (decision === "undo") this.deletions.undo();
    else if (id === this.id("suspect", found.key)) await this.decideSuspect(found, decision);
    else await this.decideConflict(found, decision);
    return { ...found, resolved: true };
  }

  /** The identity of the entry that says why the root cannot be used. */
  get rootReviewId(): string {
    return this.id("root");
  }

  /** Brings stored bytes back under their path, as an edit of this node. Throws NOT_FOUND. */
  async restore(path: string, hash: string): Promise<FileEntry> {
    const { manifest } = this.context;
    for (let looks = 0; looks <= MAX_LOOKS; looks++) {
      const row = manifest.row(path);
      const chosen =
        hash !== ""
          ? hash
          : (row?.kind === "gone" && row.before) || manifest.objectsOf(path).find((object) => object.hash !== row?.hash)?.hash;
      if (!chosen || !this.placement.has(chosen)) throw this.nothingStored(path, hash);
      if (row?.kind === "file" && row.hash === chosen && row.state === State.here) return entryOf(row);
      if (row?.kind === "folder") throw this.folderThere(path);
      const object = manifest.object(chosen);
      const nowUs = this.context.nowUs();
      const entry = ownEntry(this.context, {
        path,
        kind: "file",
        hash: chosen,
        // Whatever has the bytes, which may be what came and could not be placed: they say it themselves.
        size: 0,
        mode: row?.kind === "file" ? row.mode : 6,
        modifiedUs: object?.modifiedUs ?? nowUs,
        version: next(row?.version ?? new Map(), plannerOf(this.context)),
        stampUs: Math.max(nowUs, (row?.stampUs ?? 0) + 1),
        losers: row?.losers ?? [],
      });
      const expected = await this.placement.expectedAt(row);
      const [result] = await this.placement.carryOut([
        { entry, source: "", expected, why: "replaced", displacedAuthor: row?.author ?? "" },
      ]);
      const placed = manifest.row(path);
      if (result === "done" && placed) return entryOf(placed);
      await this.scanner.look(path);
    }
    throw new SyncError({
      code: "FILE_BLOCKED",
      message: `"${path}" is being written to, or something that is not synced stands there`,
      action: "Try again when it is quiet.",
    });
  }

  private async decideConflict(review: Review, decision: "winner" | "loser"): Promise<void> {
    const { manifest } = this.context;
    const { value } = review.loser ?? {};
    const hash = typeof value === "string" ? value : "";
    if (decision === "loser") await this.restore(review.key, hash);
    manifest.transaction(() => {
      const row = manifest.row(review.key);
      if (!row) return;
      const losers = row.losers.map((loser) => (loser.hash === hash ? { ...loser, resolved: true } : loser));
      const { print, racy, state } = row;
      if (losers.length > 0) manifest.write({ entry: { ...entryOf(row), losers }, source: "", print, racy, state }, this.context.nowUs());
      for (const object of manifest.lateObjects())
        if (object.hash === hash) manifest.changeObject(object.id, { ...object, why: "replaced" });
    });
  }

  private async decideSuspect({ key }: Review, decision: "winner" | "loser"): Promise<void> {
    const { manifest } = this.context;
    if (decision === "winner") return;
    // Without a known print nothing speaks against an edit.
    manifest.transaction(() => manifest.observe(key, { print: "", racy: true, state: State.here }));
    await this.scanner.look(key);
  }

  private conflict(row: ManifestRow, loser: FileLoser): Review {
    const here = this.placement.has(loser.hash);
    return {
      ...this.entry(this.id("conflict", row.path, loser.hash), row.path, "", loser.sinceUs),
      reason: `edited on two nodes at once; the later edit has the name${here ? "" : " (the other's bytes are not on this node; decide on another)"}`,
      winner: { value: loser.winner === "" ? "a folder" : loser.winner, author: loser.winnerAuthor, timeUs: loser.winnerStampUs, dot: "" },
      loser: { value: loser.hash, author: loser.author, timeUs: loser.stampUs, dot: "" },
    };
  }

  private entry(id: string, path: string, reason: string, sinceUs: number): Review {
    return {
      id,
      kind: "file",
      table: this.context.name,
      key: path,
      column: null,
      winner: null,
      loser: null,
      image: null,
      reason,
      sinceUs,
      resolved: false,
    };
  }

  private id(...parts: string[]): string {
    return createHash("sha256")
      .update(["file", this.context.name, ...parts].join("\0"))
      .digest("hex")
      .slice(0, ID_CHARACTERS);
  }

  private nothingStored(path: string, hash: string): SyncError {
    const what = hash === "" ? `no earlier version of "${path}"` : `no bytes with SHA-256 ${hash}`;
    return new SyncError({
      code: "NOT_FOUND",
      message: `the root "${this.context.name}" has ${what} on this node`,
      action: "Ask another node that had it.",
    });
  }

  private folderThere(path: string): SyncError {
    return new SyncError({ code: "FILE_BLOCKED", message: `"${path}" is a folder now`, action: "Rename the folder first." });
  }
}

function versionOf({ hash, author, stampUs }: ManifestRow) {
  return { value: hash, author, timeUs: stampUs, dot: "" };
}
