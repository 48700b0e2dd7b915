import {
  equalVectors,
  join,
  joinLosers,
  SyncError,
  type VersionVector,
  sameContent,
  type FileEntry,
  type FileLoser,
  type FileRefusal,
} from "@scoutsync/core";
import { plannerOf, withRoot, type RootContext } from "../context.ts";
import { entryOf, State, type ManifestRow } from "../manifest/rows.ts";
import { errorCode, inFolderOf, permissionsOf } from "../paths/folder.ts";
import { next as bump, plan, type Plan } from "../plan/plan.ts";
import { belongsToDatabase } from "../scan/exclusions.ts";
import { isRacy, printOf } from "../scan/print.ts";
import type { Scanner } from "../scan/scanner.ts";
import type { Staging } from "../store/staging.ts";
import { Claims, linkOnTheWayTo } from "./claims.ts";
import { FolderPlaces, lostToFolder } from "./folder-places.ts";
import { newId, storedObject, type Placement, type Step } from "./placement.ts";

/** A path is planned again after it turned out to hold something newer, so often at most; then the next session does it. */
const MAX_LOOKS = 4;

/** Bytes that are needed before an entry can be taken in. */
export interface Want {
  hash: string;
  size: number;
  /** Where the other node has them. */
  path: string;
  /** A version of the path is here, so that only differing chunks need to travel. */
  hasBasis: boolean;
  /** Where they cannot be had, nothing else waits for them. */
  isOptional: boolean;
}

export interface Intake {
  wants: Want[];
  /** Entries that are in the manifest now, or have nothing new. */
  taken: number;
  /** Files whose new bytes came into place, entries that opened a conflict, and files that were removed. */
  placed: number;
  conflicts: number;
  removed: number;
  /** What could not be taken in: not now (`retry`: the list has to be read again from there), or never. */
  refused: FileRefusal[];
}

/**
 * Takes entries of another node in: plans each against what is here, takes the steps whose bytes are here, and says which
 * bytes are missing. To be called again with the same entries when these have come: what is done already has nothing to do.
 */
export class EntryIntake {
  private readonly context: RootContext;
  private readonly placement: Placement;
  private readonly scanner: Scanner;
  private readonly staging: Staging;
  private readonly folders: FolderPlaces;
  /** Files that came for the name of a folder that is not empty yet, by path: what was in it may go a moment later. */
  private readonly awaited = new Map<string, { entry: FileEntry; source: string; lists: number }>();
  /** What others say, judged. */
  readonly claims: Claims;
  /** How many lists of others have been begun. */
  private lists = 0;

  constructor(context: RootContext, parts: { placement: Placement; scanner: Scanner; staging: Staging }) {
    this.context = context;
    this.placement = parts.placement;
    this.scanner = parts.scanner;
    this.staging = parts.staging;
    this.folders = new FolderPlaces(context, parts);
    this.claims = new Claims(context);
  }

  /** `source` is the index of the manifest that the entries come from; `peer` names it for people. */
  async receive(entries: readonly FileEntry[], source: string, peer: string): Promise<Intake> {
    const intake: Intake = { wants: [], taken: 0, placed: 0, conflicts: 0, removed: 0, refused: [] };
    const { sound, refused, leftAlone } = this.claims.judge(entries);
    intake.refused.push(...refused);
    intake.taken += leftAlone;
    const { manifest } = this.context;
    const live = sound.filter(({ kind }) => kind !== "gone").sort((a, b) => (a.path < b.path ? -1 : 1));
    const gone = sound.filter(({ kind }) => kind === "gone").sort((a, b) => (a.path > b.path ? -1 : 1));
    const folders = gone.filter(({ path }) => manifest.row(path)?.kind === "folder");
    // Folders before what is in them; what goes, last; and folders after what was in them, the deepest first.
    await this.takeAll(live, source, intake);
    await this.takeAll(
      gone.filter((entry) => !folders.includes(entry)),
      source,
      intake,
    );
    await this.takeAll(folders, source, intake);
    if (gone.length > 0) await this.takeAwaited(intake);
    for (const entry of sound) await this.keepLosers(entry, intake);
    this.claims.note(peer);
    return intake;
  }

  /** A list of another node is asked for from where it is known: what it says of deletions comes after the rest. */
  listBegins(): void {
    this.lists += 1;
  }

  private async takeAll(entries: readonly FileEntry[], source: string, intake: Intake): Promise<void> {
    let waiting = entries;
    for (let looks = 0; waiting.length > 0; looks++) {
      const steps: { step: Step; entry: FileEntry; counts: "placed" | "removed" }[] = [];
      const again: FileEntry[] = [];
      for (const entry of waiting) {
        try {
          const outcome = await this.plan(entry, source, intake);
          if (outcome === "again") again.push(entry);
          else if (outcome) steps.push({ ...outcome, entry });
        } catch (error) {
          this.fail(error, entry, intake);
        }
      }
      const results = await this.placement.carryOut(steps.map(({ step }) => step));
      for (const [at, { step, entry, counts }] of steps.entries()) {
        if (results[at] === "done") {
          intake[counts] += 1;
          intake.taken += 1;
          if (step.why === "conflict") intake.conflicts += 1;
        } else if (results[at] === "blocked") this.inTheWay(entry, intake);
        else again.push(entry);
      }
      if (looks === MAX_LOOKS && again.length > 0) {
        for (const { path } of again)
          intake.refused.push({ path, code: "FILE_CHANGED", message: `"${path}" is being written to`, retry: true });
        break;
      }
      // What the disk holds is another thing than the manifest says: an edit that has not been seen yet.
      for (const { path } of again) await this.scanner.look(path);
      waiting = again;
    }
  }

  /** Versions that lost their name are kept on every node that can get them, so that each can bring them back. */
  private async keepLosers(entry: FileEntry, intake: Intake): Promise<void> {
    for (const loser of entry.losers) {
      if (loser.resolved || (await this.keepLoser(loser, entry))) continue;
      const { hash, size } = loser;
      if (!intake.wants.some((want) => want.hash === hash))
        intake.wants.push({ hash, size, path: entry.path, hasBasis: false, isOptional: true });
    }
  }

  /** A step for the disk; null when nothing is left to do or bytes are waited for; "again" after a change to plan anew from. */
  private async plan(
    entry: FileEntry,
    source: string,
    intake: Intake,
  ): Promise<{ step: Step; counts: "placed" | "removed" } | "again" | null> {
    const { manifest, databases } = this.context;
    this.noticeRollback(entry);
    if (entry.kind === "file" && withRoot(this.context, ({ root }) => belongsToDatabase(root, databases, entry.path))) {
      this.inTheWay(entry, intake);
      return null;
    }
    const known = manifest.row(entry.path);
    const row = known?.state === State.forgotten ? null : known;
    // What lost the name waits for a person, whatever becomes of the path.
    const told = known && !row ? { ...entry, losers: joinLosers(known.losers, entry.losers) } : entry;
    const planned = plan(row && entryOf(row), told, plannerOf(this.context));
    switch (planned.step) {
      case "nothing":
        intake.taken += 1;
        return null;
      case "join":
      case "note":
      case "keep":
        return this.write(planned.row, source, entry, row, intake);
      case "take":
        return this.take(planned.row, source, entry, row, intake);
      case "remove":
        return this.remove(planned.row, source, entry, row, intake);
      case "settle":
        return this.settle(planned, source, entry, row, intake);
    }
  }

  /** Only the manifest changes. */
  private write(next: FileEntry, source: string, entry: FileEntry, row: ManifestRow | null, intake: Intake): null {
    const { manifest } = this.context;
    const { print = "", racy = false, state = State.here } = row ?? {};
    manifest.transaction(() =>
      manifest.write({ entry: next, source: unchanged(next, entry) ? source : "", print, racy, state }, this.context.nowUs()),
    );
    intake.taken += 1;
    return null;
  }

  private async take(next: FileEntry, source: string, entry: FileEntry, row: ManifestRow | null, intake: Intake) {
    const from = unchanged(next, entry) ? source : "";
    if (next.kind === "folder") return this.makeFolder(next, from, row, intake);
    if (row && this.isDifferentlyDressed(row, next)) return this.dress(next, from, row, intake);
    if (!this.placement.has(next.hash)) return this.want(next, intake);
    if (row?.kind === "folder" && !this.folders.remove(row)) {
      // Other files are still in it. What goes is listed last; what stays keeps the folder's name, and the file has lost it.
      if (this.isMetAgain(entry, source)) return this.folderWins(next, row, intake);
      const message = `"${next.path}" is a folder here, and not empty yet`;
      intake.refused.push({ path: next.path, code: "FILE_CHANGED", message, retry: true });
      return null;
    }
    await this.folders.makeParents(next.path);
    const expected = await this.placement.expectedAt(row);
    return {
      step: { entry: next, source: from, expected, why: "replaced" as const, displacedAuthor: row?.author ?? "" },
      counts: "placed" as const,
    };
  }

  /** True for a file that has waited for a folder to become empty through a list before this one. It is listed again until it is in. */
  private isMetAgain(entry: FileEntry, source: string): boolean {
    const before = this.awaited.get(entry.path);
    const isSame = before !== undefined && equalVectors(before.entry.version, entry.version);
    if (isSame && before.lists !== this.lists) return this.awaited.delete(entry.path);
    if (!isSame) this.awaited.set(entry.path, { entry, source, lists: this.lists });
    return false;
  }

  /** Files whose folder has become empty by now. */
  private async takeAwaited(intake: Intake): Promise<void> {
    for (const [path, { entry, source }] of this.awaited) {
      if (!this.folders.isEmpty(path)) continue;
      await this.takeAll([entry], source, intake);
      this.awaited.delete(path);
    }
  }

  /** True while anything below it is known to be in place, whatever stands there this moment: the next look says what became of it. */
  private holdsSomething({ path }: ManifestRow): boolean {
    return this.context.manifest.below(path).some(({ state }) => state === State.here);
  }

  private async remove(next: FileEntry, source: string, entry: FileEntry, row: ManifestRow | null, intake: Intake) {
    const from = unchanged(next, entry) ? source : "";
    if (row?.kind === "folder") {
      if (this.holdsSomething(row) || !this.folders.remove(row)) {
        // Something is in it that nobody has deleted: the folder stays, and says so.
        const kept = { ...entryOf(row), version: nextOf(this.context, row, entry) };
        return this.write(kept, "", entry, row, intake);
      }
      return this.write(next, from, entry, null, intake);
    }
    const expected = await this.placement.expectedAt(row);
    if (!row || expected === "") return this.write(next, from, entry, null, intake);
    return {
      step: { entry: next, source: from, expected, why: "deleted" as const, displacedAuthor: row.author },
      counts: "removed" as const,
    };
  }

  private async settle(
    planned: Extract<Plan, { step: "settle" }>,
    source: string,
    entry: FileEntry,
    row: ManifestRow | null,
    intake: Intake,
  ) {
    const { row: next, loser, winner } = planned;
    if (winner === "theirs") {
      if (next.kind === "folder") return this.makeFolder(next, "", row, intake, "conflict");
      if (row && this.isDifferentlyDressed(row, next)) return this.dress(next, "", row, intake);
      if (!this.placement.has(next.hash)) return this.want(next, intake);
      const expected = await this.placement.expectedAt(row);
      return {
        step: { entry: next, source: "", expected, why: "conflict" as const, displacedAuthor: row?.author ?? "" },
        counts: "placed" as const,
      };
    }
    // The other's bytes are kept here, too, before the version that covers both says that they are.
    if (loser && !(await this.keepLoser(loser, entry))) return this.want(entry, intake);
    if (loser) intake.conflicts += 1;
    return this.write(next, source, entry, row, intake);
  }

  /** What is known and not here, or not as it was, comes into place where its bytes have come. Returns what is still missing. */
  async heal(): Promise<{ healed: number; wants: Want[] }> {
    const { manifest } = this.context;
    const wants: Want[] = [];
    const steps: Step[] = [];
    for (const row of [...manifest.inState(State.wanted), ...manifest.inState(State.suspect)]) {
      try {
        const step = await this.healing(row, wants);
        if (step) steps.push(step);
      } catch (error) {
        // It stays wanted until its place is free.
        if (!isInTheWay(error)) throw error;
        this.remarkInTheWay(row.path);
      }
    }
    const results = await this.placement.carryOut(steps);
    for (const [at, { entry }] of steps.entries()) if (results[at] === "changed") await this.scanner.look(entry.path);
    return { healed: results.filter((result) => result === "done").length, wants };
  }

  /** What brings one row to where it belongs; null where that is done, or its bytes are still to come. */
  private async healing(row: ManifestRow, wants: Want[]): Promise<Step | null> {
    const { manifest } = this.context;
    if (row.kind !== "file") {
      if (row.kind === "folder")
        withRoot(this.context, ({ root }) => inFolderOf(root, row.path, (folder, name) => folder.make(name).close(), true));
      manifest.transaction(() => manifest.observe(row.path, { state: State.here }));
      return null;
    }
    if (!this.placement.has(row.hash)) {
      if (!wants.some(({ hash }) => hash === row.hash))
        wants.push({ hash: row.hash, size: row.size, path: row.path, hasBasis: false, isOptional: false });
      return null;
    }
    await this.folders.makeParents(row.path);
    const expected = await this.placement.expectedAt(row);
    return { entry: entryOf(row), source: row.source, expected, why: "conflict", displacedAuthor: row.author };
  }

  private want({ hash, size, path }: FileEntry, intake: Intake): null {
    if (!intake.wants.some((want) => want.hash === hash)) {
      const row = this.context.manifest.row(path);
      intake.wants.push({ hash, size, path, hasBasis: row?.kind === "file" && row.state === State.here, isOptional: false });
    }
    return null;
  }

  /** The bytes of a version that lost its name, in the store; false when they have to be fetched first. */
  private async keepLoser(loser: FileLoser, { path, modifiedUs }: FileEntry): Promise<boolean> {
    const { manifest } = this.context;
    if (manifest.object(loser.hash)) return true;
    if (!this.placement.has(loser.hash)) return false;
    return withRoot(this.context, async (open) => {
      const id = newId();
      if (!(await this.placement.copy(open, loser.hash, id))) return false;
      open.staging.moveTo(id, open.objects, id);
      open.objects.sync();
      this.context.reached("loser stored");
      const object = await storedObject(this.context, open, id, { path, why: "conflict", author: loser.author });
      manifest.transaction(() => manifest.addObject({ ...object, modifiedUs, print: "" }));
      if (this.staging.has(loser.hash)) {
        open.staging.remove(loser.hash);
        this.staging.used(loser.hash);
      }
      return true;
    });
  }

  private async makeFolder(
    next: FileEntry,
    source: string,
    row: ManifestRow | null,
    intake: Intake,
    why: "replaced" | "conflict" = "replaced",
  ) {
    const { manifest } = this.context;
    await this.folders.makeParents(next.path);
    const made = await this.folders.inPlaceOf(next, source, row, why);
    if (made === "changed") return "again" as const;
    if (made === "free") {
      withRoot(this.context, ({ root }) => inFolderOf(root, next.path, (folder, name) => folder.make(name).close()));
      manifest.transaction(() => manifest.write({ entry: next, source, print: "", racy: false, state: State.here }, this.context.nowUs()));
    }
    intake.taken += 1;
    return null;
  }

  /** A file version came for a path that is a folder with other files in it. */
  private async folderWins(next: FileEntry, row: ManifestRow, intake: Intake): Promise<null> {
    const loser = lostToFolder(next, row, this.context.nowUs());
    if (!(await this.keepLoser(loser, next))) return this.want(next, intake);
    const losers = [...row.losers.filter(({ hash }) => hash !== loser.hash), loser];
    const kept = { ...entryOf(row), version: nextOf(this.context, row, next), losers };
    intake.conflicts += 1;
    return this.write(kept, "", next, row, intake);
  }

  /** The bytes are right; only the owner's bits differ, and no other name of the file would get them, too. */
  private isDifferentlyDressed({ kind, hash, state, path }: ManifestRow, next: FileEntry): boolean {
    if (kind !== "file" || hash !== next.hash || state !== State.here) return false;
    const there = withRoot(this.context, ({ root }) => inFolderOf(root, path, (folder, name) => folder.look(name)));
    return there === null || there.nlink < 2n;
  }

  /** Gives a file in place the owner's bits that its version has. */
  private dress(next: FileEntry, source: string, row: ManifestRow, intake: Intake): "again" | null {
    const { manifest } = this.context;
    const stats = withRoot(this.context, ({ root }) =>
      inFolderOf(root, next.path, (folder, name) => {
        const before = folder.look(name);
        if (!before?.isFile() || printOf(before) !== row.print) return null;
        folder.dress(name, permissionsOf(next.mode, before), null, true);
        return folder.look(name);
      }),
    );
    if (!stats) return "again";
    const nowUs = this.context.nowUs();
    manifest.transaction(() =>
      manifest.write(
        { entry: next, source, print: printOf(stats), racy: isRacy(stats, this.context.diskClock.nowUs()), state: State.here },
        nowUs,
      ),
    );
    intake.taken += 1;
    return null;
  }

  /** A version of ours that we do not know: all of this machine is an earlier state of it. From now on we have another name. */
  private noticeRollback(entry: FileEntry): void {
    const { manifest } = this.context;
    const said = entry.version.get(manifest.author) ?? 0;
    if (said > (manifest.row(entry.path)?.version.get(manifest.author) ?? 0)) manifest.noticePutBack(this.context.nowUs());
  }

  private inTheWay({ path }: FileEntry, intake: Intake): void {
    const reason = this.remarkInTheWay(path);
    intake.refused.push({ path, code: "FILE_BLOCKED", message: `"${path}" of the root "${this.context.name}": ${reason}`, retry: true });
  }

  private remarkInTheWay(path: string): string {
    const reason = "something that is not synced is in the way (a link, a folder's permissions, or an excluded file)";
    this.scanner.remark(path, "way", reason);
    const link = withRoot(this.context, ({ root }) => linkOnTheWayTo(root, path));
    if (link !== null) this.claims.refuse(`${JSON.stringify(path)} was not written: a link stands at ${JSON.stringify(link)}`);
    return reason;
  }

  private fail(error: unknown, entry: FileEntry, intake: Intake): void {
    if (isInTheWay(error)) return this.inTheWay(entry, intake);
    throw error;
  }
}

/** True where a path cannot be reached: by links, permissions, or something else that has a folder's name. */
function isInTheWay(error: unknown): boolean {
  if (error instanceof SyncError && error.code === "FILE_BLOCKED") return true;
  return ["ENOTDIR", "ELOOP", "EACCES", "EPERM", "EROFS", "EXDEV", "ENOENT"].includes(errorCode(error));
}

/** A version that covers both, of this node's own making. */
function nextOf(context: RootContext, row: ManifestRow, entry: FileEntry): VersionVector {
  return bump(join(row.version, entry.version), plannerOf(context));
}

/** What is written is what came, so that it need not be sent back to where it came from. */
function unchanged(written: FileEntry, came: FileEntry): boolean {
  return (
    sameContent(written, came) &&
    equalVectors(written.version, came.version) &&
    JSON.stringify(written.losers) === JSON.stringify(came.losers)
  );
}
