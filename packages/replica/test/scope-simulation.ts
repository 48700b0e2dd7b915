import { readFileSync } from "node:fs";
import { join } from "node:path";
import type { ChangeBatch } from "@scoutsync/core";
import { parseCondition, type ScopeRule, type ScopeTable } from "../src/index.ts";
import { seeded } from "./seeded.ts";
import { SECOND_US, Site, testFolder } from "./site.ts";

const SCHEMA = `
CREATE TABLE event(id INTEGER PRIMARY KEY, name TEXT NOT NULL);
CREATE TABLE person(id INTEGER PRIMARY KEY, team INTEGER NOT NULL, name TEXT UNIQUE, bio TEXT);
CREATE TABLE scouting(id INTEGER PRIMARY KEY, team INTEGER NOT NULL, event_id INTEGER REFERENCES event(id), note TEXT, more TEXT, secret TEXT, person_id INTEGER REFERENCES person(id));
CREATE TABLE pit(team INTEGER, slot TEXT, body TEXT, PRIMARY KEY(team, slot));
CREATE TABLE tag(code TEXT PRIMARY KEY, team INTEGER, label TEXT UNIQUE);
CREATE TABLE diary(id INTEGER PRIMARY KEY, body TEXT);
`;
/** Ends with a letter: in a file another value may follow at once. */
const TOKEN = /w\d+z[A-Z]\d?e/g;
const STEPS = 70;
/** Columns of the scope that hold what people typed. */
const TYPED: Readonly<Record<string, string[]>> = { scouting: ["note", "more"], pit: ["body"], tag: ["label"], person: ["bio"] };
/** UNIQUE: whoever adds one of them apart from others adds the same person, or clashes with another team's. */
const NAMES = ["alice", "bob", "carol", "dan"];

interface Team {
  name: string;
  /** Numbers whose rows are in the scope now. */
  numbers: number[];
  copy: Site;
  laptops: Site[];
  /** Words that were in the scope at some time, by an own look at the server's rows, and what its laptops typed. */
  allowed: Set<string>;
  /** Everything that was sent to its laptops. */
  sent: Buffer[];
}

const rule = (name: string, numbers: readonly number[]): ScopeRule => {
  const where = parseCondition(`team IN (${numbers.join(", ")})`);
  const own = (table: string, columns: string[] | null = null): ScopeTable => ({ table, where, columns, follow: false });
  return {
    name,
    tables: [
      own("scouting", ["team", "event_id", "note", "more", "person_id"]),
      { table: "event", where: null, columns: null, follow: true },
      { ...own("person"), follow: true },
      own("pit"),
      own("tag"),
    ],
  };
};

/**
 * Two teams on one server with their laptops: writes on all of them, moves between teams, scopes that get wider and
 * narrower, sessions that are cut, passes whose second half is lost. Finds words of one team at the other's, teams whose laptops
 * do not come to hold their part of the server, and words that went without anybody having replaced or deleted them.
 */
export class ScopeSimulation {
  readonly failures: string[] = [];
  readonly counts = { passes: 0, toMain: 0, toCopy: 0, kept: 0, lost: 0, words: 0 };
  private readonly endings: (() => void)[] = [];
  private readonly random: () => number;
  private readonly joint: boolean;
  private readonly server: Site;
  private readonly teams: Team[];
  private nowUs = 1_700_000_000_000_000;
  private words = 0;
  private ids = 100;
  /** Words that somebody who saw them replaced or deleted: these may go. */
  private readonly replaced = new Set<string>();
  private readonly typed = new Set<string>();

  /** `joint`: persons are added by the same names everywhere, and rows refer to them. */
  constructor(seed: number, { joint = false } = {}) {
    this.random = seeded(seed);
    this.joint = joint;
    // The same seed draws the same origins, whatever ran before it.
    const run = { random: seeded(~seed), atEnd: (work: () => void) => void this.endings.unshift(work) };
    this.server = new Site("server", SCHEMA, run);
    this.server.write("PRAGMA foreign_keys = OFF; INSERT INTO event VALUES(1, 'north'), (2, 'south'), (3, 'west')");
    this.teams = [
      { name: "A", numbers: [1] },
      { name: "B", numbers: [2] },
    ].map(({ name, numbers }) => ({
      name,
      numbers,
      copy: new Site("server", "", {
        ...run,
        path: join(testFolder(run.atEnd), `copy-${name}.db`),
        quarantine: null,
        scope: { rule: rule(name, numbers), main: this.server.path, exclude: [], rules: [] },
      }),
      laptops: [1, 2].map((n) => {
        const laptop = new Site(`laptop-${name}${n}`, SCHEMA, { ...run, exclude: ["scouting.secret", "diary"], quarantine: null });
        laptop.write("PRAGMA foreign_keys = OFF");
        return laptop;
      }),
      allowed: new Set<string>(),
      sent: [],
    }));
  }

  run(): string[] {
    try {
      for (let step = 0; step < STEPS; step++) {
        this.nowUs += SECOND_US;
        this.step();
      }
      this.comeToRest();
      this.check();
    } finally {
      for (const end of this.endings) end();
    }
    return this.failures;
  }

  private pick<T>(list: readonly T[]): T {
    return list[Math.floor(this.random() * list.length)] as T;
  }

  private word(who: string): string {
    this.words++;
    this.counts.words++;
    const word = `w${this.words}z${who}e`;
    this.typed.add(word);
    return word;
  }

  private step(): void {
    const team = this.pick(this.teams);
    const chance = this.random();
    if (chance < 0.22) this.write(this.server, "S", [1, 2, 3]);
    else if (chance < 0.5) {
      const laptop = this.pick(team.laptops);
      // Now and then for a team that is not its own.
      this.write(laptop, laptop.name.slice("laptop-".length), this.random() < 0.15 ? [1, 2, 3] : team.numbers, team);
    } else if (chance < 0.72) this.meet(team, this.pick(team.laptops));
    else if (chance < 0.93) this.carry(team, this.random() < 0.2);
    else this.reach(team);
  }

  /** One thing that an application does at a site. */
  private write(site: Site, who: string, numbers: readonly number[], team?: Team): void {
    const table = this.pick(["scouting", "scouting", "pit", "tag", ...(this.joint ? ["person", "person"] : [])]);
    const key = { scouting: ["id"], pit: ["team", "slot"], tag: ["code"], person: ["id"] }[table] as string[];
    const rows = site.rows(`SELECT * FROM ${table} WHERE team IN (${numbers.join(", ")}) ORDER BY ${key.join(", ")}`);
    const found = this.pick(rows);
    const column = this.pick(TYPED[table] as string[]);
    const at = found && key.map((name) => `${name} = ${literal(found[name])}`).join(" AND ");
    const note = (word: string) => team?.allowed.add(word);
    const chance = this.random();
    let sql: string;
    if (found && chance < 0.35) {
      const word = this.word(who);
      note(word);
      this.gone(textOf(found[column]));
      sql = `UPDATE ${table} SET ${column} = '${word}' WHERE ${at}`;
    } else if (found && table !== "pit" && table !== "person" && chance < 0.5) {
      sql = `UPDATE ${table} SET team = ${this.pick([1, 2, 3])} WHERE ${at}`;
    } else if (
      found &&
      chance < 0.6 &&
      (table !== "person" || site.one(`SELECT 1 FROM scouting WHERE person_id = ${literal(found["id"])}`) === null)
    ) {
      for (const name of TYPED[table] as string[]) this.gone(textOf(found[name]));
      sql = `DELETE FROM ${table} WHERE ${at}`;
    } else {
      const name = this.pick(NAMES);
      if (table === "person" && site.one(`SELECT 1 FROM person WHERE name = '${name}'`) !== null) return;
      const word = this.word(who);
      note(word);
      const number = this.pick(numbers);
      const person = this.joint
        ? this.pick([null, ...site.rows(`SELECT id FROM person WHERE team = ${number} ORDER BY id`).map(({ id }) => id)])
        : null;
      // Integers of all sites clash; other keys may.
      sql =
        table === "scouting"
          ? `INSERT INTO scouting(id, team, event_id, note, secret, person_id) VALUES((SELECT ifnull(max(id), 0) + 1 FROM scouting), ${number}, ${this.pick(["NULL", 1, 2])}, '${word}', 'hidden', ${literal(person)})`
          : table === "pit"
            ? `INSERT OR IGNORE INTO pit VALUES(${number}, 's${Math.floor(this.random() * 6)}', '${word}')`
            : table === "tag"
              ? `INSERT INTO tag VALUES('t${++this.ids}', ${number}, '${word}')`
              : `INSERT INTO person VALUES((SELECT ifnull(max(id), 0) + 1 FROM person), ${number}, '${name}', '${word}')`;
      if (table === "pit") this.gone(word);
    }
    site.edit(sql, this.nowUs);
  }

  /** Somebody saw the word and took it away. */
  private gone(word: string): void {
    this.replaced.add(word);
  }

  /** A session, which may be cut after some batches. */
  private meet(team: Team, laptop: Site): void {
    for (const site of [team.copy, laptop]) site.nowUs = this.nowUs;
    const batches = this.random() < 0.25 ? 1 : Number.POSITIVE_INFINITY;
    this.pull(team, laptop, { batchSize: this.pick([0, 0, 2]), batches });
    if (this.random() < 0.85) team.copy.pull(laptop, { batchSize: this.pick([0, 3]), batches });
  }

  private pull(team: Team, laptop: Site, options: { batchSize: number; batches: number }): void {
    const read = team.copy.batchFor.bind(team.copy);
    team.copy.batchFor = (to, batchSize, whole, beyondAfter) => {
      const batch: ChangeBatch = read(to, batchSize, whole, beyondAfter);
      // What goes over the line beside the packed rows, and these as they are.
      team.sent.push(
        Buffer.from(JSON.stringify({ ...batch, payload: "", from: [...batch.from], to: [...batch.to], vector: [...batch.vector] })),
      );
      return batch;
    };
    try {
      laptop.pull(team.copy, options);
    } finally {
      team.copy.batchFor = read;
    }
  }

  /** `half`: the process is killed after the database has committed and before the copy has. */
  private carry(team: Team, half = false): void {
    this.server.nowUs = this.nowUs;
    team.copy.nowUs = this.nowUs;
    this.server.replica.drain();
    this.look(team);
    let before: string | null = null;
    const beforeCommit = half ? () => (before = team.copy.backup()) : undefined;
    let done = team.copy.replica.carryScope(false, beforeCommit);
    for (let again = 0; !done.complete && again < 5; again++) {
      this.server.replica.drain();
      done = team.copy.replica.carryScope(false, beforeCommit);
    }
    if (!done.complete || done.problem !== "") this.failures.push(`a pass of ${team.name} did not get through: ${done.problem}`);
    this.counts.passes++;
    this.counts.toMain += done.toMain;
    this.counts.toCopy += done.toCopy;
    this.counts.kept += done.kept;
    if (before !== null) {
      this.counts.lost++;
      team.copy.replaceFile(before);
    }
    if (this.random() < 0.7) this.server.replica.drain();
  }

  /** An own look at which words the team may see. */
  private look(team: Team): void {
    for (const [table, columns] of Object.entries(TYPED))
      for (const row of this.server.rows(`SELECT ${columns.join(", ")} FROM ${table} WHERE ${belongs(table, team.numbers)}`))
        for (const value of Object.values(row)) team.allowed.add(String(value));
  }

  /** The scope gets wider or narrower. */
  private reach(team: Team): void {
    const [own] = team.numbers as [number];
    team.numbers = team.numbers.length > 1 ? [own] : [own, 3];
    team.copy.options.scope = { ...team.copy.options.scope!, rule: rule(team.name, team.numbers) };
    team.copy.restart();
  }

  private comeToRest(): void {
    for (let round = 0; round < 5; round++) {
      for (const team of this.teams) {
        this.nowUs += SECOND_US;
        for (const site of [team.copy, ...team.laptops]) site.nowUs = this.nowUs;
        for (const laptop of team.laptops) {
          this.pull(team, laptop, { batchSize: 0, batches: Number.POSITIVE_INFINITY });
          team.copy.pull(laptop);
        }
        this.carry(team);
        for (const laptop of team.laptops) this.pull(team, laptop, { batchSize: 0, batches: Number.POSITIVE_INFINITY });
      }
    }
  }

  private check(): void {
    const everywhere = new Set<string>();
    for (const site of [this.server, ...this.teams.flatMap(({ copy }) => copy)]) for (const word of wordsIn(site)) everywhere.add(word);
    for (const team of this.teams) {
      this.checkLeaks(team);
      this.checkEqual(team);
      for (const laptop of team.laptops) for (const word of wordsIn(laptop)) everywhere.add(word);
    }
    for (const { note } of this.server.rows(
      "SELECT note FROM scouting GROUP BY note HAVING count(*) > 1 UNION ALL SELECT bio FROM person GROUP BY bio HAVING count(*) > 1",
    ))
      this.failures.push(`"${textOf(note)}" is in two rows of the server`);
    for (const word of this.typed)
      if (!everywhere.has(word) && !this.replaced.has(word)) this.failures.push(`"${word}" is nowhere, and nobody replaced or deleted it`);
  }

  private checkLeaks({ name, copy, laptops, allowed, sent }: Team): void {
    const seen = (text: string) => text.match(TOKEN) ?? [];
    const hidden = /hidden|laptop-[AB]/g;
    for (const site of [copy, ...laptops]) {
      site.app.pragma("wal_checkpoint(TRUNCATE)");
      const text = readFileSync(site.path, "latin1");
      const found = [...new Set(seen(text))].filter((word) => !allowed.has(word));
      const others = [...new Set(text.match(hidden) ?? [])].filter(
        (word) => (word === "hidden" && site === copy) || (word.startsWith("laptop") && !word.endsWith(name)),
      );
      for (const word of [...found, ...others]) this.failures.push(`${site.name} of team ${name} holds "${word}"`);
    }
    for (const message of sent) {
      const text = message.toString("latin1");
      const found = [...new Set([...seen(text), ...(text.match(hidden) ?? [])])].filter(
        (word) => !allowed.has(word) && !word.endsWith(name),
      );
      for (const word of found) this.failures.push(`"${word}" was sent to team ${name}`);
    }
  }

  private checkEqual({ name, numbers, copy, laptops }: Team): void {
    const where = `WHERE team IN (${numbers.join(", ")})`;
    const queries = [
      `SELECT id, team, event_id, note, more, person_id FROM scouting ${where} ORDER BY id`,
      `SELECT * FROM person WHERE ${belongs("person", numbers)} ORDER BY id`,
      `SELECT * FROM pit ${where} ORDER BY team, slot`,
      `SELECT * FROM tag ${where} ORDER BY code`,
    ];
    const whole = [
      "SELECT id, team, event_id, note, more, person_id FROM scouting ORDER BY id",
      "SELECT * FROM person ORDER BY id",
      "SELECT * FROM pit ORDER BY team, slot",
      "SELECT * FROM tag ORDER BY code",
    ];
    queries.forEach((sql, at) => {
      const wanted = JSON.stringify(this.server.rows(sql));
      for (const site of [copy, ...laptops]) {
        const held = JSON.stringify(site.rows(whole[at] as string));
        if (held !== wanted) this.failures.push(`${site.name} of team ${name} holds ${held} and should hold ${wanted}`);
      }
    });
    for (const laptop of laptops)
      if (Buffer.compare(laptop.replica.state().digest, copy.replica.state().digest) !== 0)
        this.failures.push(`the digest of ${laptop.name} differs`);
  }
}

/** Rows of a table that belong to these teams, or that rows of theirs refer to. */
function belongs(table: string, numbers: readonly number[]): string {
  const own = `team IN (${numbers.join(", ")})`;
  return table === "person" ? `(${own} OR id IN (SELECT person_id FROM scouting WHERE ${own}))` : own;
}

const textOf = (value: unknown) => (typeof value === "string" ? value : "");
const literal = (value: unknown) => (typeof value === "string" ? `'${value}'` : String(value));

/** Words in any row of a file, sync metadata included. */
function wordsIn(site: Site): string[] {
  site.app.pragma("wal_checkpoint(TRUNCATE)");
  return readFileSync(site.path, "latin1").match(TOKEN) ?? [];
}
