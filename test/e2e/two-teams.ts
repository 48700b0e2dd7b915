import { existsSync, mkdirSync, readdirSync, readFileSync, rmSync, statSync, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { DatabaseSync } from "node:sqlite";
import { createDatabase, type Fleet, type FleetNode, seededRandom, select, until } from "@scoutsync/testkit";
import { Authority, createFleet, storeIdentity } from "@scoutsync/trust";
import { nodeIdentity } from "../../services/sync-node/src/index.ts";
import { answersOf, type Heard } from "./every-answer.ts";

const SCHEMA = `
CREATE TABLE match(id INTEGER PRIMARY KEY, name TEXT NOT NULL);
CREATE TABLE scouting(id INTEGER PRIMARY KEY, team INTEGER NOT NULL, match_id INTEGER REFERENCES match(id), note TEXT, more TEXT, price TEXT);
CREATE TABLE label(code TEXT PRIMARY KEY, team INTEGER NOT NULL, text TEXT UNIQUE);
CREATE TABLE account(id INTEGER PRIMARY KEY, password TEXT);
`;
const LIMITED = ["--exclude", "main.scouting.price", "--exclude", "main.account"];
/** Rows of nobody's secrets, which a wider scope shows. */
const GUESTS = 3;

type Color = "blue" | "red";
const COLORS: readonly Color[] = ["blue", "red"];
const otherThan = (color: Color): Color => (color === "blue" ? "red" : "blue");

interface Team {
  color: Color;
  number: number;
  match: number;
  isWide: boolean;
  laptops: FleetNode[];
}

/**
 * A server of two teams and two laptops of each, as real processes over mutual TLS. Whatever a team writes, and whatever the
 * server writes for it, has its secret mark in it; so a search of all bytes at the other team's says whether anything got there.
 */
export class TwoTeams {
  private readonly fleet: Fleet;
  private readonly random: () => number;
  private readonly server: FleetNode;
  private readonly teams: Record<Color, Team>;
  private marks = 0;
  private restarts = 0;
  /** What was typed, and what of it somebody who saw it replaced or deleted. */
  private readonly typed = new Set<string>();
  private readonly replaced = new Set<string>();

  private constructor(fleet: Fleet, random: () => number, server: FleetNode, teams: Record<Color, Team>) {
    this.fleet = fleet;
    this.random = random;
    this.server = server;
    this.teams = teams;
  }

  static async start(fleet: Fleet, seed: number): Promise<TwoTeams> {
    const random = seededRandom(seed).next;
    const data = (name: string) => fleet.path(name, "node-data");
    await createFleet(data("server"), { role: "node", id: nodeIdentity(data("server")), name: "server" });
    const authority = Authority.open(data("server")) as Authority;
    define(fleet, { blue: false, red: false });
    const main = createDatabase(
      fleet.path("server.db"),
      `${SCHEMA} INSERT INTO match VALUES(1, 'Kblue0Z'), (2, 'Kred0Z'), (3, 'guests');
       INSERT INTO scouting VALUES(1, 1, 1, 'Kblue1Z', NULL, 'Kserver1Z'), (2, 2, 2, 'Kred1Z', NULL, 'Kserver2Z'), (3, 3, 3, 'guest', NULL, 'Kserver3Z');
       INSERT INTO account VALUES(1, 'Kserver4Z')`,
    );
    const files = (name: string) => {
      mkdirSync(join(fleet.directory, name, "uploads"), { recursive: true });
      return ["--files", `uploads=${join(fleet.directory, name, "uploads")}`];
    };
    const flags = [...files("server"), "--scopes", fleet.path("scopes.yaml")];
    const server = await fleet.node({ name: "server", databases: { main }, baseline: null, flags });
    const laptop = async (name: string, scope: Color) => {
      const { key, pem, ca } = await authority.issueHere({
        fleet: authority.fleet,
        role: "node",
        id: nodeIdentity(data(name)),
        name,
        scope,
      });
      storeIdentity(data(name), { key, certificate: pem, ca });
      return fleet.node({
        name,
        databases: { main: createDatabase(fleet.path(`${name}.db`), SCHEMA) },
        baseline: null,
        peers: [server.address],
        flags: [...files(name), ...LIMITED],
      });
    };
    const team = async (color: Color, number: number): Promise<Team> => ({
      color,
      number,
      match: number,
      isWide: false,
      laptops: await Promise.all([laptop(color, color), laptop(`${color}-too`, color)]),
    });
    return new TwoTeams(fleet, random, server, { blue: await team("blue", 1), red: await team("red", 2) });
  }

  /** Everything that only that team, or nobody beside the server, may have. */
  secretsOf(color: Color): RegExp {
    return new RegExp(`K(${color}|server)\\d+Z`, "i");
  }

  private pick<T>(list: readonly T[]): T {
    return list[Math.floor(this.random() * list.length)] as T;
  }

  private mark(color: Color): string {
    const mark = `K${color}${++this.marks + 1}Z`;
    this.typed.add(mark);
    return mark;
  }

  private gone(...texts: unknown[]): void {
    for (const text of texts) if (typeof text === "string") this.replaced.add(text);
  }

  // ---- what happens

  async step(): Promise<void> {
    const team = this.teams[this.pick(COLORS)];
    const laptop = this.pick(team.laptops);
    const chance = this.random();
    if (chance < 0.2) this.insert(laptop, team, team.number);
    else if (chance < 0.35) this.edit(laptop, team);
    else if (chance < 0.42) for (const each of team.laptops) this.edit(each, team);
    else if (chance < 0.5) this.insert(laptop, team, this.teams[otherThan(team.color)].number);
    else if (chance < 0.58) this.insert(this.server, team, team.number);
    else if (chance < 0.66) this.give(team);
    else if (chance < 0.72) this.remove(this.random() < 0.5 ? this.server : laptop, team);
    else if (chance < 0.8) this.label(laptop, team);
    else if (chance < 0.95) this.file(this.random() < 0.3 ? this.server : laptop, team);
    else if (this.restarts++ < 1) await this.reach(team);
    await new Promise((resolve) => setTimeout(resolve, this.random() * 150));
  }

  /** Also for the other team's number, and under an integer that another row may have. */
  private insert(at: FleetNode, { color, match, number: own }: Team, number: number): void {
    const mark = this.mark(color);
    const id = this.random() < 0.5 ? "NULL" : String(1 + Math.floor(this.random() * 9));
    this.write(at, (database) => {
      const taken = database.prepare("SELECT 1 FROM scouting WHERE id = ?").get(id === "NULL" ? null : Number(id)) !== undefined;
      const refers = number === own && this.random() < 0.6 ? match : null;
      database.prepare(`INSERT INTO scouting(id, team, match_id, note) VALUES(${taken ? "NULL" : id}, ?, ?, ?)`).run(number, refers, mark);
    });
  }

  private edit(at: FleetNode, { color, number }: Team): void {
    const column = this.pick(["note", "more"]);
    const chance = this.random();
    this.write(at, (database) => {
      const rows = database.prepare(`SELECT id, ${column} AS text FROM scouting WHERE team = ? ORDER BY id`).all(number);
      const row = rows[Math.floor(chance * rows.length)];
      if (!row) return;
      this.gone(row["text"]);
      database.prepare(`UPDATE scouting SET ${column} = ? WHERE id = ?`).run(this.mark(color), row["id"] as number);
    });
  }

  /** The server gives a row to the other team, with all that it says changed. */
  private give({ number, color }: Team): void {
    const other = this.teams[otherThan(color)];
    this.write(this.server, (database) => {
      const row = database.prepare("SELECT id, note, more FROM scouting WHERE team = ? ORDER BY id LIMIT 1").get(number);
      if (!row) return;
      this.gone(row["note"], row["more"]);
      database
        .prepare("UPDATE scouting SET team = ?, match_id = ?, note = ?, more = ? WHERE id = ?")
        .run(other.number, other.match, this.mark(other.color), this.mark(other.color), row["id"] as number);
    });
  }

  private remove(at: FleetNode, { number }: Team): void {
    this.write(at, (database) => {
      const row = database.prepare("SELECT id, note, more FROM scouting WHERE team = ? ORDER BY id DESC LIMIT 1").get(number);
      if (!row) return;
      this.gone(row["note"], row["more"]);
      database.prepare("DELETE FROM scouting WHERE id = ?").run(row["id"] as number);
    });
  }

  /** The text is UNIQUE at the server, and the other team may have it. */
  private label(at: FleetNode, { color, number }: Team): void {
    const [code, text] = [this.mark(color), `label ${Math.floor(this.random() * 4)}`];
    this.write(at, (database) => {
      if (database.prepare("SELECT 1 FROM label WHERE text = ?").get(text) !== undefined) return this.gone(code);
      database.prepare("INSERT INTO label VALUES(?, ?, ?)").run(code, number, text);
    });
  }

  private file(at: FleetNode, { color }: Team): void {
    const chance = this.random();
    const folder = chance < 0.15 && at !== this.server ? otherThan(color) : color;
    const path = join(this.fleet.directory, at.name, "uploads", folder, `${Math.floor(this.random() * 4)}-K${color}0Z.txt`);
    if (existsSync(path)) this.gone(/K\w+Z/.exec(readFileSync(path, "latin1"))?.[0]);
    if (chance > 0.8) return rmSync(path, { force: true });
    mkdirSync(dirname(path), { recursive: true });
    writeFileSync(path, this.mark(color).padEnd(40 + Math.floor(this.random() * 40), "."));
  }

  /** Rows of guests come into the scope, or leave it; the server was killed before. */
  private async reach(team: Team): Promise<void> {
    team.isWide = !team.isWide;
    await this.server.kill();
    define(this.fleet, { blue: this.teams.blue.isWide, red: this.teams.red.isWide });
    await this.server.restart();
  }

  /** One team writes, and the server for it, until all of it has arrived; nobody else does anything. */
  async busyTime(color: Color): Promise<void> {
    const team = this.teams[color];
    for (const laptop of team.laptops) {
      this.insert(laptop, team, team.number);
      this.edit(laptop, team);
      this.file(laptop, team);
    }
    this.insert(this.server, team, team.number);
    this.insert(this.pick(team.laptops), team, this.teams[otherThan(color)].number);
    this.label(this.pick(team.laptops), team);
    await this.converge();
  }

  private write(at: FleetNode, work: (database: DatabaseSync) => void): void {
    const database = new DatabaseSync(at.databases["main"] ?? "", { enableForeignKeyConstraints: false });
    try {
      database.exec("PRAGMA busy_timeout = 10000; BEGIN IMMEDIATE");
      work(database);
      database.exec("COMMIT");
    } finally {
      database.close();
    }
  }

  // ---- what came of it

  /** Waits until each team's laptops hold their part of the server, by a look of the test's own. */
  async converge(): Promise<void> {
    for (const team of COLORS.map((color) => this.teams[color])) {
      const numbers = team.isWide ? `${team.number}, ${GUESTS}` : String(team.number);
      const scouting = `SELECT id, team, match_id, note, more FROM scouting WHERE team IN (${numbers}) ORDER BY id`;
      const queries = [
        [scouting, "SELECT id, team, match_id, note, more FROM scouting ORDER BY id"],
        [`SELECT * FROM label WHERE team IN (${numbers}) ORDER BY code`, "SELECT * FROM label ORDER BY code"],
        [
          `SELECT * FROM match WHERE id IN (SELECT match_id FROM scouting WHERE team IN (${numbers})) ORDER BY id`,
          "SELECT * FROM match ORDER BY id",
        ],
      ] as const;
      await until(
        () =>
          team.laptops.every(({ name, databases }) => {
            const rows = queries.every(([wanted, held]) => print(this.server.databases["main"], wanted) === print(databases["main"], held));
            return rows && this.filesOf(name, team.color) === this.filesOf("server", team.color);
          }),
        { withinMs: 60_000, what: `team ${team.color} holds its part of the server` },
      );
    }
  }

  private filesOf(name: string, color: Color): string {
    const folder = join(this.fleet.directory, name, "uploads", color);
    if (!existsSync(folder)) return "";
    return readdirSync(folder)
      .filter((file) => file.endsWith(".txt"))
      .sort()
      .map((file) => `${file} ${readFileSync(join(folder, file), "latin1")}`)
      .join("\n");
  }

  /** What was typed, replaced by nobody, and is nowhere. */
  lost(): string[] {
    const everywhere = ["server", ...COLORS.flatMap((color) => [color, `${color}-too`])].map((name) => this.everythingAt(name)).join("\n");
    return [...this.typed].filter((mark) => !this.replaced.has(mark) && !everywhere.includes(mark));
  }

  async stop(): Promise<void> {
    await Promise.all([this.server, ...COLORS.flatMap((color) => this.teams[color].laptops)].map((node) => node.stop()));
  }

  /** Every byte that a node keeps: its database with free pages, its folder, its store, what it remembers, what it said. */
  everythingAt(name: string): string {
    const below = (folder: string) => readdirSync(folder, { recursive: true, encoding: "utf8" }).map((path) => join(folder, path));
    const files = [`${name}.db`, `${name}.db-wal`, join("logs", `${name}.log`)].map((path) => join(this.fleet.directory, path));
    return [...files, ...below(join(this.fleet.directory, name))]
      .filter((path) => statSync(path, { throwIfNoEntry: false })?.isFile() === true)
      .map((path) => `${path}\n${readFileSync(path, "latin1")}`)
      .join("\n");
  }

  /** Rows and files of a team that somebody of the other one may have heard of. */
  heardOf(color: Color): Heard {
    const rows = select(this.server.databases["main"] ?? "", "SELECT id FROM scouting ORDER BY id LIMIT 4");
    const folder = join(this.fleet.directory, "server", "uploads", color);
    const files = existsSync(folder) ? readdirSync(folder).slice(0, 2) : [];
    return { keys: rows.map(({ id }) => String(id)), paths: files.map((file) => `${color}/${file}`) };
  }

  /** What a laptop's certificate gets of the server by every RPC that there is. */
  answersTo(color: Color, heard: Heard): Promise<{ answers: string[]; refused: number }> {
    return answersOf(this.server.address, this.fleet.path(color, "node-data"), heard);
  }

  /**
   * The same once each laptop of the team and the server have told each other everything, also what changes no row (two deletes of
   * one, what somebody has): an answer from before would change by what red itself does.
   */
  async answersWhenAllIsSaid(color: Color, heard: Heard): Promise<{ answers: string[]; refused: number }> {
    let last: { answers: string[]; refused: number } = { answers: [], refused: 0 };
    const saysAll = async () => {
      last = await this.answersTo(color, heard);
      const known = new Set(vectorsIn(last.answers, true));
      for (const { address, name } of this.teams[color].laptops) {
        const { answers } = await answersOf(address, this.fleet.path(name, "node-data"), NOTHING, (call) => call === "GetChanges");
        for (const vector of vectorsIn(answers, false)) known.add(vector);
      }
      return known.size === 1;
    };
    await until(saysAll, { withinMs: 60_000, everyMs: 1000, what: `the server and team ${color} have told each other everything` });
    return last;
  }

  /** What a laptop lists for a person, asked on it. It does what is asked, too: it issues again what is left of runs that ended. */
  async listedAt(name: string): Promise<string> {
    const laptop = COLORS.flatMap((color) => this.teams[color].laptops).find((one) => one.name === name) as FleetNode;
    const { answers } = await answersOf(laptop.address, this.fleet.path(name, "node-data"), { keys: ["1", "2"], paths: [] });
    return answers.join("\n");
  }
}

function define(fleet: Fleet, isWide: Record<Color, boolean>): void {
  const scope = (color: Color, number: number) => {
    const numbers = isWide[color] ? `${number}, ${GUESTS}` : String(number);
    return `${color}:
  main:
    scouting: { where: "team in (${numbers})", columns: [team, match_id, note, more] }
    label: { where: "team in (${numbers})" }
    match: follow
  files: { uploads: [${color}/] }
`;
  };
  writeFileSync(fleet.path("scopes.yaml"), scope("blue", 1) + scope("red", 2));
}

function print(path: string | undefined, sql: string): string {
  return JSON.stringify(select(path ?? "", sql), (_, value: unknown) => (typeof value === "bigint" ? String(value) : value));
}

const NOTHING: Heard = { keys: [], paths: [] };

interface Entries {
  entries: readonly { origin: string; sequence: string }[];
}

/** What the node that was asked has, and with `others` what it has heard that each node has: of that, laptops are told less often. */
function vectorsIn(answers: readonly string[], others: boolean): string[] {
  return answers.flatMap((answer) => {
    if (!answer.startsWith("/scoutsync.v1.SyncNode/GetChanges: {")) return [];
    const { batch } = JSON.parse(answer.slice(answer.indexOf("{"))) as { batch?: { vector?: Entries; members?: { vector: Entries }[] } };
    const said = [batch?.vector, ...(others ? (batch?.members ?? []) : []).map(({ vector }) => vector)].filter(
      (vector) => vector !== undefined,
    );
    return said.map(({ entries }) => JSON.stringify(entries.map(({ origin, sequence }) => `${origin}:${sequence}`).sort()));
  });
}
