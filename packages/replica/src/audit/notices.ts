import { type Review, type ReviewVersion, type SqlValue, SyncError, winnerOf } from "@scoutsync/core";
import { type Notice, Notices } from "../rows/notices.ts";
import { registerOf } from "../rows/registers.ts";
import type { RowState } from "../rows/row-state.ts";
import type { Identity } from "../rows/same-links.ts";
import { valueText } from "../rows/values.ts";
import { type Audited, columnName, keyOf, reviewId } from "./context.ts";

/** Of more noted rows it is not looked whether each is still as it was. */
const MOST_LOOKED_AT = 100;
/** Keys of rows that an entry names. */
const KEYS_SHOWN = 5;

/** An entry, and how it is settled. */
interface Listed {
  review: Review;
  /** Ends it: `values` are written to these rows, where the decision is another reference. */
  settle: (keep: "winner" | "loser") => { rows: RowState[]; value: SqlValue } | null;
}

/**
 * Rows that may not be those that somebody means: written to refer to an integer that another row had here, gone, or living on
 * as a new row since this database joined again. This node's own, as only its people know what they meant.
 */
export function noticeReviews(audited: Audited): Review[] {
  return listed(audited).map(({ review }) => review);
}

/** How many entries there are; where there are very many, how many rows there were when they were noted. */
export function countNotices(audited: Audited): number {
  const { db, rows } = audited;
  const byTable = db.prepare("SELECT tid, count(*) FROM _scoutsync_gone GROUP BY tid").raw().all() as [number, number][];
  const gone = byTable.reduce((sum, [tid, count]) => sum + (rows.byTid(tid) ? count : 0), 0);
  const noted = db.prepare("SELECT count(*) FROM _scoutsync_notice").pluck().get() as number;
  // Asked after every commit: where nothing was noted, and where looking at each would cost more than the commit, they are only counted.
  return gone + (noted === 0 || noted > MOST_LOOKED_AT ? noted : notedRows(audited).length);
}

/**
 * Settles such an entry; null when the id is not one of these. Returns which rows are to refer to something else, by
 * ordinary writes that are the caller's. Throws INVALID_ARGUMENT for a decision that there is none of.
 */
export function settleNotice(
  audited: Audited,
  { id, keep, set }: { id: string; keep: "winner" | "loser" | ""; set: { name: string; value: SqlValue }[] },
): { review: Review; rows: RowState[]; values: { name: string; value: SqlValue }[] } | null {
  const found = listed(audited).find(({ review }) => review.id === id);
  if (!found) return null;
  const { review } = found;
  if (set.length > 0 || keep === "" || (keep === "loser" && review.loser === null)) {
    throw new SyncError({
      code: "INVALID_ARGUMENT",
      message: `review ${id} tells what happened to a row`,
      action:
        review.loser === null
          ? "Say --keep winner once it has been seen; whatever else is to be done with the row, do in the application."
          : "Say --keep winner to leave it as it is, or --keep loser to have the rows refer to the other one.",
    });
  }
  const change = found.settle(keep);
  return { review, rows: change?.rows ?? [], values: change ? [{ name: review.column as string, value: change.value }] : [] };
}

const listed = (audited: Audited): Listed[] => [...goneRows(audited), ...notedRows(audited)];

function notedRows(audited: Audited): Listed[] {
  const notices = new Notices(audited.db);
  const groups = new Map<string, { notices: Notice[]; rows: RowState[] }>();
  const found: Listed[] = [];
  for (const notice of notices.all()) {
    const row = audited.rows.byDot(notice.birth.origin, notice.birth.sequence);
    if (row?.place.kind !== "table") continue;
    if (!notice.refers) {
      found.push(rebornRow(audited, notices, notice, row));
      continue;
    }
    const { cid, id, meant } = notice.refers;
    const index = row.table.indexOf.get(cid);
    if (index === undefined || !isAsNoted(audited, row, { index, cid, id })) continue;
    const name = [row.table.tid, cid, id, meant?.origin, meant?.sequence].join(":");
    const group = groups.get(name) ?? { notices: [], rows: [] };
    group.notices.push(notice);
    group.rows.push(row);
    groups.set(name, group);
  }
  for (const group of groups.values()) {
    const entry = doubtfulReference(audited, notices, group) ?? staleReference(audited, notices, group);
    if (entry) found.push(entry);
  }
  return found;
}

/** True where a row refers as it did when that was noted. Into another database it follows the row, and what this node wrote still counts. */
function isAsNoted({ rows, knowledge }: Audited, row: RowState, { index, cid, id }: { index: number; cid: number; id: bigint }): boolean {
  if (!row.table.linked.some((reference) => reference.index === index)) return rows.tableValues(row)?.[index] === id;
  const said = winnerOf(registerOf(row, cid), knowledge);
  return said !== undefined && knowledge.isOwn(said.origin);
}

const EMPTY = { winner: null, loser: null, image: null, column: null, resolved: false } as const;

function version({ knowledge }: Audited, value: SqlValue, row: RowState): ReviewVersion {
  const { origin, sequence, time } = row.birth;
  return { value, author: knowledge.authorOf(origin), timeUs: time, dot: knowledge.dotText(origin, sequence) };
}

function rebornRow(audited: Audited, notices: Notices, notice: Notice, row: RowState): Listed {
  const key = keyOf(audited, row);
  const review: Review = {
    ...EMPTY,
    id: reviewId("identity", "reborn", audited.knowledge.dotText(notice.birth.origin, notice.birth.sequence)),
    kind: "identity",
    table: row.table.name,
    key,
    winner: version(audited, key, row),
    reason:
      "this node was away for so long that others had deleted this row and forgotten it, and here it was edited or referred to meanwhile: it lives on everywhere as a new row. " +
      "Delete it in the application if it was to go; --keep winner once this has been seen",
    sinceUs: notice.atUs,
  };
  return { review, settle: () => (notices.forget(notice), null) };
}

/** Rows that went when this database joined again, with their last values. */
function goneRows(audited: Audited): Listed[] {
  const { db, rows } = audited;
  const stored = db.prepare("SELECT n, tid, key, image, at FROM _scoutsync_gone ORDER BY n").all() as {
    n: number;
    tid: number;
    key: string;
    image: string;
    at: number;
  }[];
  return stored.flatMap(({ n, tid, key, image, at }) => {
    const table = rows.byTid(tid);
    if (!table) return [];
    const review: Review = {
      ...EMPTY,
      id: reviewId("identity", "gone", table.name, key, String(at), String(n)),
      kind: "identity",
      table: table.name,
      key,
      image: Object.entries(JSON.parse(image) as Record<string, string | null>).map(([name, value]) => ({ name, value })),
      reason:
        "this node was away for so long that others had deleted this row and forgotten it: it went here, too, and these were its last values. " +
        "Add it again in the application if it was to stay; --keep winner once this has been seen",
      sinceUs: at,
    };
    return { review, settle: () => (db.prepare("DELETE FROM _scoutsync_gone WHERE n = ?").run(n), null) };
  });
}

/** Rows that wrote the same integer, as an entry says it: their keys, and how a sentence begins that is about them. */
function namesOf(audited: Audited, rows: readonly RowState[]): { key: string; were: string } {
  const keys = rows.slice(0, KEYS_SHOWN).map((each) => audited.veil.key(each.table.name, keyOf(audited, each)));
  const more = rows.length - keys.length;
  const were = rows.length === 1 ? `row ${keys[0]} was` : `rows ${keys.join(", ")}${more > 0 ? ` and ${more} more` : ""} were`;
  return { key: keys.join(" "), were };
}

/** References into another database; null for those within this one. */
function doubtfulReference(audited: Audited, notices: Notices, group: { notices: Notice[]; rows: RowState[] }): Listed | null {
  const { rows, knowledge } = audited;
  const [first] = group.notices;
  const [row] = group.rows;
  const cid = first?.refers?.cid ?? -1;
  const index = row?.table.indexOf.get(cid);
  const target = row?.table.linked.find((reference) => reference.index === index)?.target;
  if (!first?.refers || !row || index === undefined || !target) return null;
  const { id, meant } = first.refers;
  const column = columnName(row.table, cid);
  const now = rows.tableValues(row)?.[index] ?? null;
  const other = meant && rows.linked.liveId(target, meant);
  const { key, were } = namesOf(audited, group.rows);
  const review: Review = {
    ...EMPTY,
    id: reviewId("identity", "linked", row.table.name, column, String(id), meant ? knowledge.dotText(meant.origin, meant.sequence) : ""),
    kind: "identity",
    table: row.table.name,
    key,
    column,
    winner: version(audited, now, row),
    loser: other === null ? null : version(audited, other, row),
    reason:
      `${were} written here with ${column} = ${id}, which may have been another row in "${target.table}" of "${target.database}" then: it came to be another one ` +
      `by a sync or after that was written, or one of the two databases alone was put back from a backup. They are taken for the one that has ${valueText(now)} now: --keep winner if they mean that, ` +
      (other === null
        ? "else change them in the application, as the other one is not known or not there"
        : `--keep loser if they mean the one that has ${other}`),
    sinceUs: first.atUs,
  };
  return {
    review,
    settle: (keep) => {
      for (const notice of group.notices) notices.forget(notice);
      rows.linked.noteAnswered(target, id);
      return keep === "loser" && meant ? { rows: group.rows, value: rows.linked.idOf(target, meant) } : null;
    },
  };
}

function staleReference(audited: Audited, notices: Notices, group: { notices: Notice[]; rows: RowState[] }): Listed | null {
  const { rows, knowledge } = audited;
  const [first] = group.notices;
  const [row] = group.rows;
  if (!first?.refers?.meant || !row) return null;
  const { cid, id, meant } = first.refers;
  const column = columnName(row.table, cid);
  const parent = row.table.references.find(({ index }) => row.table.indexOf.get(cid) === index)?.parent;
  const holder = parent && rows.byId(parent, id);
  if (!parent || !holder || isIdentity(holder, meant)) return null;
  const moved = movedRow(audited, parent, meant);
  const { key, were } = namesOf(audited, group.rows);
  const review: Review = {
    ...EMPTY,
    id: reviewId("identity", "reference", row.table.name, column, String(id), knowledge.dotText(meant.origin, meant.sequence)),
    kind: "identity",
    table: row.table.name,
    key,
    column,
    winner: version(audited, id, holder),
    loser: moved && version(audited, moved.slot, moved),
    reason:
      `${were} written here with ${column} = ${id}, soon after a sync gave ${id} in "${parent.name}" to another row: ` +
      (moved
        ? `the row that the application knew as ${id} is ${moved.slot} now. --keep winner if they mean the one that has ${id} now, --keep loser if they mean the other`
        : `the row that the application knew as ${id} has been deleted elsewhere. --keep winner if they mean the one that has ${id} now; else change them in the application`),
    sinceUs: first.atUs,
  };
  return {
    review,
    settle: (keep) => {
      for (const notice of group.notices) notices.forget(notice);
      rows.former.answered(parent, id);
      return keep === "loser" && moved ? { rows: group.rows, value: moved.slot } : null;
    },
  };
}

function movedRow({ rows }: Audited, parent: RowState["table"], meant: Identity): RowState | null {
  const stands = rows.references.representative(parent, meant);
  const row = rows.byIdentity(parent, stands.origin, stands.sequence);
  return row?.place.kind === "table" ? row : null;
}

const isIdentity = ({ identity }: RowState, { origin, sequence }: Identity): boolean =>
  identity.origin === origin && identity.sequence === sequence;
