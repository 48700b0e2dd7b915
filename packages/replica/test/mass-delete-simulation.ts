import { seeded } from "./seeded.ts";
import { refusal, settle, Site, START_US } from "./site.ts";
import { deletedValues, differences, dumpOf, settledValues, visibleValues } from "./verdict.ts";

/** Every table has a text column `x` of values that are typed once; keys and UNIQUE values come from small sets, so that they clash. */
const SCHEMA = `
CREATE TABLE team(id INTEGER PRIMARY KEY, num INTEGER UNIQUE, x TEXT);
CREATE TABLE match(id INTEGER PRIMARY KEY, team INTEGER NOT NULL REFERENCES team(id) ON DELETE CASCADE, num INTEGER UNIQUE, x TEXT);
CREATE TABLE tag(k TEXT PRIMARY KEY, x TEXT);
CREATE TABLE tagged(match INTEGER NOT NULL REFERENCES match(id) ON DELETE CASCADE, tag TEXT NOT NULL REFERENCES tag(k) ON DELETE CASCADE, x TEXT, PRIMARY KEY(match, tag));
CREATE TABLE node(id INTEGER PRIMARY KEY, up INTEGER REFERENCES node(id) ON DELETE CASCADE, x TEXT);
CREATE TABLE club(id INTEGER PRIMARY KEY, chair INTEGER REFERENCES member(id) ON DELETE CASCADE, x TEXT);
CREATE TABLE member(id INTEGER PRIMARY KEY, club INTEGER NOT NULL REFERENCES club(id) ON DELETE CASCADE, x TEXT);
CREATE TABLE slot(day TEXT, hour INTEGER, x TEXT, PRIMARY KEY(day, hour));
CREATE TABLE shift(id INTEGER PRIMARY KEY, day TEXT, hour INTEGER, x TEXT, FOREIGN KEY(day, hour) REFERENCES slot(day, hour) ON DELETE CASCADE);
CREATE TABLE bag(team INTEGER REFERENCES team(id) ON DELETE CASCADE, x TEXT);
`;
const TABLES = ["team", "match", "tag", "tagged", "node", "club", "member", "slot", "shift", "bag"] as const;
type TableName = (typeof TABLES)[number];
/** Tables with a key, and how it is given. */
const KEYS = {
  team: "id",
  match: "id",
  tag: "k",
  tagged: "match || ',' || tag",
  node: "id",
  club: "id",
  member: "id",
  slot: "day || ',' || hour",
  shift: "id",
} as const;

/** Columns that others may be given, with what they refer to. */
const REFERENCES: readonly [TableName, string, TableName][] = [
  ["match", "team", "team"],
  ["node", "up", "node"],
  ["club", "chair", "member"],
  ["member", "club", "club"],
];
/** What deletes many rows: by itself, with others that hang on them, and as a migration that fills a table again. */
const MASS_DELETES = [
  ...[0, 1, 2, 3].map((rest) => `DELETE FROM team WHERE id % 4 <> ${rest}`),
  "DELETE FROM node WHERE up IS NULL",
  "DELETE FROM tag",
  "DELETE FROM match",
  "DELETE FROM club WHERE id > 1",
  "DELETE FROM slot WHERE hour > 0",
  "DELETE FROM shift; DELETE FROM slot",
  "DELETE FROM tagged; DELETE FROM tag WHERE k > 't3'",
  ...["team", "club", "node"].map(
    (table) =>
      `CREATE TEMP TABLE old AS SELECT * FROM ${table}; DELETE FROM ${table}; INSERT INTO ${table} SELECT * FROM old; DROP TABLE old`,
  ),
  "CREATE TEMP TABLE old AS SELECT * FROM tag; DELETE FROM tag; INSERT INTO tag SELECT * FROM old WHERE k < 't4'; DROP TABLE old",
];
/** From how many rows on, and which share of its table, a delete is a mass delete. */
const LIMITS = { rows: 4, share: 0.3 };

export interface MassDeleteOptions {
  replicas: number;
  steps: number;
  /** Rows that are typed before the first mass delete. */
  fill: number;
  /** What becomes of every mass delete; one or the other where it is not said. */
  decision?: "release" | "undo";
  /** Rows are deleted one by one, too. */
  deletes: boolean;
  /** People decide about conflicts and parked rows, and restore rows, too. */
  people: boolean;
  restarts: boolean;
  trace: boolean;
}

const DEFAULTS: MassDeleteOptions = { replicas: 3, steps: 45, fill: 55, deletes: true, people: false, restarts: true, trace: false };

/** How a decision is refused that cannot be; then nothing has changed. */
const REFUSED = ["CONSTRAINT_REFUSED", "INVALID_ARGUMENT", "NOT_FOUND"];

/** Where each value is, as `table key`; in a table without a key as its rowid, which is a name for as long as an edit takes. */
type Places = Map<string, string>;

/**
 * A seeded history of applications that delete most of a table at once, and of people who let that go or put it back, while others go
 * on writing. What was typed is written down independently: a value is somewhere to be seen until an application that saw it replaced or
 * deleted it, or a mass delete that took it was let go.
 */
export class MassDeleteSimulation {
  readonly failures: string[] = [];
  readonly totals = { keptBack: 0, released: 0, undone: 0, resolved: 0, restored: 0 };
  private readonly options: MassDeleteOptions;
  private readonly random: () => number;
  private readonly sites: Site[];
  private readonly ends: (() => void)[] = [];
  /** Values that were typed, with the statement. */
  private readonly typed = new Map<string, string>();
  /** Values that somebody who saw them replaced or deleted. */
  private readonly gone = new Set<string>();
  /** By mass delete that waits for a decision, the values it took, each as in `Places`. */
  private readonly keptBack = new Map<string, Places>();
  /** What may have been in one row with a value, for values and keys: a delete by who knew of one of them takes the others along, unseen. */
  private readonly kin = new Map<string, string>();
  /** Values of rows that some application deleted, in this order. */
  private readonly deleted: string[] = [];
  /** Values that came back with their row, with how many were deleted by then. */
  private readonly restored = new Map<string, number>();
  /** Values that are gone because somebody replaced them: they do not come back with their row. */
  private readonly replaced = new Set<string>();
  /** Where the deleted rows were, as `table key`. */
  private readonly left: string[] = [];
  private values = 0;
  private nowUs = START_US;

  constructor(seed: number, options: Partial<MassDeleteOptions> = {}) {
    this.options = { ...DEFAULTS, ...options };
    this.random = seeded(seed * 7013 + 11);
    const shared = {
      quarantine: LIMITS,
      park: this.random() < 0.25 ? ["*"] : [],
      atEnd: (work: () => void) => this.ends.unshift(work),
      ...(this.random() < 0.5 && { turnMs: 0 }),
    };
    this.sites = Array.from({ length: this.options.replicas }, (_, i) => {
      const site = new Site(`n${i}`, SCHEMA, { ...shared, random: seeded(seed * 1000 + i) });
      site.app.pragma("foreign_keys = ON");
      site.app.pragma("synchronous = OFF");
      return site;
    });
  }

  private below(count: number): number {
    return Math.floor(this.random() * count);
  }

  private pick<T>(list: readonly T[]): T {
    return list[this.below(list.length)] as T;
  }

  private trace(text: string): void {
    if (this.options.trace) console.log(text);
  }

  private fail(text: string): void {
    this.failures.push(text);
    this.trace(`FAIL ${text}`);
  }

  run(): MassDeleteSimulation {
    try {
      for (let i = 0; i < this.options.fill; i++) this.insert(this.pick(this.sites));
      settle(...this.sites);
      for (let i = 0; i < this.options.steps; i++) this.step(this.pick(this.sites));
      this.finish();
      return this;
    } finally {
      for (const end of this.ends) end();
    }
  }

  private step(site: Site): void {
    if (this.options.people && this.random() < 0.2) return this.random() < 0.7 ? this.resolve(site) : this.restore(site);
    const roll = this.random();
    if (roll < 0.36) this.insert(site);
    else if (roll < 0.54) this.update(site);
    else if (roll < 0.59) this.deleteOne(site);
    else if (roll < 0.68) this.edit(site, `BEGIN; ${this.pick(MASS_DELETES)}; COMMIT`, this.random() < 0.3);
    else if (roll < 0.88) this.pull(site, this.pick(this.sites));
    else if (roll < 0.94) this.decide(site);
    else if (this.options.restarts) this.restart(site);
  }

  // ---- the applications

  private insert(site: Site): void {
    const x = `v${++this.values}`;
    const a = (table: TableName, column = "id") => this.some(site, table, column);
    const num = () => (this.random() < 0.6 ? this.below(25) : "NULL");
    const values = {
      team: () => `(num, x) VALUES(${num()}, '${x}')`,
      match: () => `(team, num, x) VALUES(${a("team")}, ${num()}, '${x}')`,
      tag: () => `VALUES('t${this.below(9)}', '${x}')`,
      tagged: () => `VALUES(${a("match")}, ${a("tag", "k")}, '${x}')`,
      node: () => `(up, x) VALUES(${this.random() < 0.6 ? a("node") : "NULL"}, '${x}')`,
      club: () => `(chair, x) VALUES(${this.random() < 0.5 ? a("member") : "NULL"}, '${x}')`,
      member: () => `(club, x) VALUES(${a("club")}, '${x}')`,
      slot: () => `VALUES('d${this.below(3)}', ${this.below(4)}, '${x}')`,
      shift: () => `(day, hour, x) VALUES('d${this.below(3)}', ${this.below(4)}, '${x}')`,
      bag: () => `VALUES(${a("team")}, '${x}')`,
    };
    const table = this.pick(TABLES);
    this.edit(site, `INSERT ${this.random() < 0.1 ? "OR REPLACE " : ""}INTO ${table} ${values[table]()}`);
  }

  /** What some row has in a column, as SQL; NULL where there is none. */
  private some(site: Site, table: TableName, column: string): string {
    const all = site.app.prepare(`SELECT quote(${column}) FROM ${table} ORDER BY 1`).pluck().all() as string[];
    return all.length === 0 ? "NULL" : this.pick(all);
  }

  private update(site: Site): void {
    const roll = this.random();
    const set = (table: TableName, what: string) =>
      this.edit(site, `UPDATE ${table} SET ${what} WHERE rowid = ${this.some(site, table, "rowid")}`);
    if (roll < 0.5) return set(this.pick(TABLES), `x = 'v${++this.values}'`);
    if (roll < 0.75) return set(this.pick(["team", "match"]), `num = ${this.below(25)}`);
    const [table, column, parent] = this.pick(REFERENCES);
    set(table, `${column} = ${this.some(site, parent, "id")}`);
  }

  private deleteOne(site: Site): void {
    if (!this.options.deletes) return;
    const table = this.pick(TABLES);
    this.edit(site, `DELETE FROM ${table} WHERE rowid = ${this.some(site, table, "rowid")}`);
  }

  /** Runs a statement of the application, and drains it; `cut`: the node is killed in the middle of that. */
  private edit(site: Site, sql: string, cut = false): void {
    this.nowUs += 1_000 + this.below(100_000);
    const before = this.places(site);
    const losers = this.losers(site);
    const known = this.undecided(site);
    try {
      if (cut) {
        site.nowUs = this.nowUs;
        site.write(sql);
        for (let turns = this.below(3); turns > 0; turns--) site.replica.drainTurn();
        site.kill();
        site.start();
        site.replica.drain();
      } else site.edit(sql, this.nowUs);
    } catch (error) {
      if (site.app.inTransaction) site.write("ROLLBACK");
      if (!((error as { code?: string }).code ?? "").startsWith("SQLITE_CONSTRAINT")) throw error;
      return;
    }
    this.trace(`${site.name}: ${sql}${cut ? " (killed)" : ""}`);
    const review = this.undecided(site).find((id) => !known.includes(id));
    this.note(site, { before, after: this.places(site), losers, sql }, review ?? null);
  }

  private undecided(site: Site): string[] {
    return site.replica.reviews({ kind: "quarantine", id: "", limit: 0 }).map(({ id }) => id);
  }

  private places(site: Site): Places {
    return new Map(
      TABLES.flatMap((table) =>
        site
          .rows(`SELECT x, ${table === "bag" ? "rowid" : KEYS[table]} AS key FROM ${table}`)
          .map(({ x, key: its }) => [String(x), `${table} ${String(its)}`] as const),
      ),
    );
  }

  /** Values that lost, as the node lists them, by the one that is shown. */
  private losers(site: Site): Map<string, string[]> {
    const found = new Map<string, string[]>();
    for (const { column, winner, loser } of site.replica.reviews({ kind: "conflict", id: "", limit: 0 })) {
      if (column !== "x" || !winner || !loser) continue;
      const shown = winner.value as string;
      found.set(shown, [...(found.get(shown) ?? []), loser.value as string]);
    }
    return found;
  }

  /** Writes down what an edit did: what it typed, what it took, and whether that waits for a decision, `review`. */
  private note(
    site: Site,
    { before, after, losers, sql }: { before: Places; after: Places; losers: Map<string, string[]>; sql: string },
    review: string | null,
  ): void {
    const filled = new Map([...after].map(([x, place]) => [place, x]));
    const taken: Places = new Map();
    const isFilledAgain = sql.includes("TEMP TABLE old");
    const rowsOf = (place: string) => [...before.values()].filter((other) => other.split(" ")[0] === place.split(" ")[0]).length;
    for (const [x, place] of before) {
      if (after.get(x) === place) {
        // Deleted and inserted again, it is a row that nothing has lost against.
        if (isFilledAgain) for (const value of losers.get(x) ?? []) this.gone.add(value);
        // Too few for a mass delete, these are new rows: what others wrote before to the ones they were is where those are.
        if (isFilledAgain && review === null && sql.includes(`DELETE FROM ${place.split(" ")[0]};`) && rowsOf(place) < LIMITS.rows)
          this.deleted.push(x);
        continue;
      }
      const next = filled.get(place);
      if (next !== undefined) this.relate(x, next);
      if (after.has(x)) continue;
      const isKept = review !== null && next === undefined && !place.startsWith("bag ");
      for (const value of [x, ...(losers.get(x) ?? [])]) {
        if (isKept) taken.set(value, place);
        else this.gone.add(value);
        if (next === undefined && !isKept) this.deleted.push(value);
        if (next !== undefined) this.replaced.add(value);
      }
      if (next === undefined) this.left.push(place);
    }
    for (const [x, place] of after) {
      if (before.has(x)) continue;
      this.typed.set(x, `${site.name}: ${sql}`);
      // Of these a row is what it was, whoever inserts it.
      if (/^(tag|slot) /.test(place)) this.relate(x, place);
      if (place.startsWith("tagged ")) this.relate(x, place.slice(place.indexOf(",")));
      const num = site.one(`SELECT num FROM ${/^(team|match) /.test(place) ? `${place.split(" ")[0]} WHERE x = '${x}'` : "team WHERE 0"}`);
      if (num !== null) this.relate(x, `${place.split(" ")[0]} num ${num as number}`);
    }
    this.comeBack(site, filled);
    if (review === null) return this.checkKeptBack(site, before, filled);
    this.trace(`  kept back: ${[...taken.keys()].join()}`);
    this.totals.keptBack++;
    this.keptBack.set(`${site.name} ${review}`, taken);
  }

  /** A row that is kept back and inserted again is the one it was. What it held is to be seen, too: SQLite may only have given its integer out again. */
  private comeBack(site: Site, filled: ReadonlyMap<string, string>): void {
    for (const [review, places] of this.keptBack) {
      if (!review.startsWith(`${site.name} `)) continue;
      for (const [x, place] of places) {
        const now = filled.get(place);
        if (now === undefined) continue;
        this.relate(x, now);
        places.delete(x);
      }
    }
  }

  /** A mass delete that is kept back nowhere is gone everywhere. */
  private checkKeptBack(site: Site, before: Places, filled: ReadonlyMap<string, string>): void {
    const waiting = [...this.keptBack].flatMap(([review, places]) => (review.startsWith(`${site.name} `) ? [...places.values()] : []));
    for (const table of TABLES) {
      if (table === "bag") continue;
      const its = [...before.values()].filter((place) => place.startsWith(`${table} `));
      const live = its.length + new Set(waiting.filter((place) => place.startsWith(`${table} `))).size;
      const lost = its.filter((place) => !filled.has(place)).length;
      if (lost >= LIMITS.rows && lost > live * LIMITS.share)
        this.fail(`${lost} of ${live} rows of ${table} on ${site.name} were not kept back`);
    }
  }

  private replace(value: string): void {
    this.gone.add(value);
    this.replaced.add(value);
  }

  private kinOf(name: string): string {
    const of = this.kin.get(name);
    return of === undefined ? name : this.kinOf(of);
  }

  private relate(one: string, other: string): void {
    const [a, b] = [this.kinOf(one), this.kinOf(other)];
    if (a !== b) this.kin.set(a, b);
  }

  // ---- the nodes

  private pull(to: Site, from: Site): void {
    if (to === from) return;
    this.trace(`${to.name} pulls from ${from.name}`);
    to.pull(from, this.random() < 0.3 ? { batchSize: 3, batches: 1 + this.below(4) } : {});
  }

  private restart(site: Site): void {
    this.trace(`${site.name} restarts`);
    if (this.random() < 0.5) return site.restart();
    site.kill();
    site.start();
  }

  /** A person decides about a mass delete of this node; false when there is none. */
  private decide(site: Site): boolean {
    const waiting = this.undecided(site);
    if (waiting.length === 0) return false;
    const id = this.pick(waiting);
    const decision = this.options.decision ?? this.pick(["release", "undo"] as const);
    this.trace(`${site.name}: ${decision} ${id}`);
    site.replica.resolve({ id, keep: "", set: [], decision });
    const name = `${site.name} ${id}`;
    const taken = [...(this.keptBack.get(name)?.keys() ?? [])];
    this.keptBack.delete(name);
    this.totals[decision === "undo" ? "undone" : "released"]++;
    if (decision === "release") {
      for (const value of taken) {
        this.gone.add(value);
        this.deleted.push(value);
      }
    }
    return true;
  }

  /** A person who sees both values of a conflict keeps either or sets another one, or has a parked row in with another value. */
  private resolve(site: Site): void {
    const open = site.replica.reviews({ kind: "", id: "", limit: 0 }).filter(({ kind }) => kind !== "quarantine");
    if (open.length === 0) return;
    const { id, kind, table, key, column, winner, loser, image } = this.pick(open);
    const [won, lost] = [winner, loser].map((version) => version?.value as string);
    const losers = this.losers(site);
    const keep = kind === "parked" ? "" : this.pick(["winner", "loser", ""] as const);
    const name = column ?? this.pick(["x", "num"]);
    const parent = REFERENCES.find((each) => each[0] === table && each[1] === name)?.[2];
    const typed = `v${++this.values}`;
    const other = name === "num" ? String(this.below(25)) : parent ? this.some(site, parent, "id") : "NULL";
    const value = name === "x" ? typed : other === "NULL" ? null : BigInt(other);
    this.trace(`${site.name}: ${kind} ${table} ${key} ${name} ${won}/${lost}: ${keep || String(value)}`);
    if (!this.decided(site, () => site.replica.resolve({ id, keep, set: keep === "" ? [{ name, value }] : [] }))) return;
    this.totals.resolved++;
    const before = image?.find((each) => each.name === "x")?.value ?? site.one(`SELECT x FROM ${table} WHERE rowid = '${key}'`);
    if (name !== "x") return this.relate(String(before), `${table} num ${keep === "loser" ? lost : String(value)}`);
    const shown = won ?? String(before);
    const next = keep === "" ? typed : String(keep === "winner" ? won : lost);
    for (const each of [shown, ...(losers.get(shown) ?? [])]) if (each !== next) this.replace(each);
    this.relate(shown, next);
    if (keep === "") this.typed.set(typed, `${site.name}: ${kind} of ${table} ${key}`);
  }

  /** A person has a deleted row back: what nobody has replaced is to be seen again. */
  private restore(site: Site): void {
    if (this.left.length === 0) return;
    const place = this.pick(this.left);
    const [table, key] = place.split(" ") as [string, string];
    if (table === "bag") return;
    this.trace(`${site.name} restores ${table} ${key}`);
    if (!this.decided(site, () => site.replica.restore(table, key))) return;
    this.totals.restored++;
    const x = [...this.places(site)].find((each) => each[1] === place)?.[0];
    if (x === undefined) return this.fail(`${place} was restored on ${site.name} and is not there`);
    if (this.replaced.has(x)) return;
    this.gone.delete(x);
    this.restored.set(x, this.deleted.length);
  }

  private decided(site: Site, work: () => unknown): boolean {
    site.nowUs = this.nowUs += 1_000;
    const code = refusal(work);
    if (code === "nothing was refused") return true;
    if (!REFUSED.includes(code as string)) throw code;
    this.trace(`  refused: ${String(code)}`);
    return false;
  }

  // ---- the end

  private finish(): void {
    settle(...this.sites);
    // What is put back with what others hold of it may clash, but nothing is deleted any more.
    for (let round = 0; this.sites.map((site) => this.decide(site)).includes(true); round++) {
      if (round > 20) return this.fail("mass deletes are kept back for ever");
      if (this.random() < 0.5) settle(...this.sites);
    }
    settle(...this.sites);
    const [first] = this.sites as [Site, ...Site[]];
    for (const site of this.sites) for (const text of differences(first, site, { dump: dumpOf(TABLES) })) this.fail(text);
    this.checkTyped(first);
  }

  /** What was typed, and replaced or deleted by nobody who saw it, is to be seen; or it was unseen in a row that somebody deleted. */
  private checkTyped(site: Site): void {
    const seen = new Set([...visibleValues(site, TABLES), ...settledValues(site, KEYS)]);
    const images = deletedValues(site, true);
    const deleted = this.deleted.map((value) => this.kinOf(value));
    for (const [value, where] of this.typed) {
      if (this.gone.has(value) || seen.has(value)) continue;
      if (!images.has(value)) this.fail(`R1 ${value} (${where}) is nowhere to be seen`);
      else if (!deleted.includes(this.kinOf(value), this.restored.get(value)))
        this.fail(`R1 ${value} (${where}) is in a deleted row that nobody deleted`);
    }
  }
}
