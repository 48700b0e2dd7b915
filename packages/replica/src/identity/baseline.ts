import type { Database } from "better-sqlite3";
import { readMeta, writeMeta } from "../schema/install.ts";
import { valueStatement } from "../kept-statements.ts";

/** The author recorded for origins that stand for rows which were there before syncing. */
export const BASELINE_AUTHOR = "before syncing";

/** Where the choice about rows from before syncing is kept. */
const CHOICE = "baseline choice";

/** What rows that were there before syncing are, when another side has such rows too. */
export type BaselineChoice = "shared" | "distinct";

/**
 * What a replica says of rows that were there before syncing, its own and others'. As text it goes with every batch and
 * opening: fields separated by ";", origins in them by ",". A version-1 program reads the first two fields. With them goes
 * which copy of a scope all of its rows belong to, as nothing may be exchanged before that is known either.
 */
export interface BaselineStatement {
  /** Every origin known to stand for such rows. */
  origins: string[];
  /** What this replica was told, empty when nobody said. */
  choice: BaselineChoice | "";
  /** Where its own rows come from: one origin; several once copies that had moved apart were joined; none when it was empty. */
  own: string[];
  /** Origins whose rows are the same rows where their keys are equal; they are named by key. */
  shared: string[];
  /** As `homeOf`. */
  home: string;
}

/** What was said about rows from before syncing; `said` now, or else at an earlier start: said once, it holds for later ones. */
export function keptChoice(db: Database, said: BaselineChoice | null): BaselineChoice | null {
  const before = readMeta(db, CHOICE) as BaselineChoice | null;
  if (said === null || said === before) return before;
  writeMeta(db, CHOICE, said);
  return said;
}

/** Origins whose changes are rows that some replica had before it was attached. */
export function baselinesOf(db: Database): string[] {
  return valueStatement(db, "SELECT origin FROM _scoutsync_origin WHERE author = ? ORDER BY origin").all(BASELINE_AUTHOR) as string[];
}

export function formatStatement({ origins, choice, own, shared, home }: BaselineStatement): string {
  const fields = [origins.join(","), choice, own.join(","), shared.join(","), home];
  while (fields.at(-1) === "") fields.pop();
  return fields.join(";");
}

/** The inverse of `formatStatement`. What a version-1 program writes has no own origin: it may be any of them. */
export function parseStatement(text: string): BaselineStatement {
  const [origins = "", choice = "", own, shared = "", home = ""] = text.split(";");
  const list = (field: string) => field.split(",").filter((origin) => /^[a-z2-7]{16}$/.test(origin));
  return {
    origins: list(origins),
    choice: choice === "shared" || choice === "distinct" ? choice : "",
    own: own === undefined ? list(origins) : list(own),
    shared: list(shared),
    home: /^[0-9a-f]{16}$/.test(home) ? home : "",
  };
}

const OWN = "baseline own";

/** The origin of the rows that this database had before it was attached, or those it was filled from when it was empty. */
export function ownBaseline(db: Database): string | null {
  return readMeta(db, OWN) ?? firstBaseline(db);
}

/** Files attached before this was noted: origin 1 is the baseline, if there was one. */
function firstBaseline(db: Database): string | null {
  const origin = valueStatement(db, "SELECT origin FROM _scoutsync_origin WHERE oid = 1 AND author = ?").get(BASELINE_AUTHOR);
  return (origin as string | undefined) ?? null;
}

/** An empty database that was filled from another holds that one's rows from now on. */
export function inheritBaseline(db: Database, origin: string): void {
  writeMeta(db, OWN, origin);
}
