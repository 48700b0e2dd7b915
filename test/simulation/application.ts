import { rmSync } from "node:fs";
import { join as joinPath } from "node:path";
import Database from "better-sqlite3";
import { join } from "@scoutsync/core";
import { ReplicaDatabase } from "@scoutsync/replica";
import { createDatabase, differences, dumpDatabase, memoryFolder, seededRandom } from "@scoutsync/testkit";

const SCHEMA = `
  CREATE TABLE team(id INTEGER PRIMARY KEY, name TEXT NOT NULL UNIQUE, rank INTEGER);
  CREATE TABLE robot(id INTEGER PRIMARY KEY, team_id INTEGER REFERENCES team(id) ON DELETE CASCADE ON UPDATE CASCADE, label TEXT);
  CREATE TABLE setting(scope TEXT, name TEXT, value, PRIMARY KEY(scope, name)) WITHOUT ROWID;
  CREATE TABLE event(kind TEXT, value, team_id INTEGER REFERENCES team(id) ON DELETE SET NULL);
  CREATE TABLE badge(code TEXT COLLATE NOCASE UNIQUE, owner TEXT, note);
  CREATE TABLE mail(id INTEGER PRIMARY KEY, address TEXT, active INT, domain TEXT AS (substr(address, instr(address, '@') + 1)));
  CREATE UNIQUE INDEX mail_address ON mail(lower(address));
  CREATE UNIQUE INDEX mail_domain ON mail(domain) WHERE active = 1;
  CREATE TABLE part(code TEXT, side TEXT, serial INT UNIQUE, note, PRIMARY KEY(code, side))`;

/** Three connections of one application, as different libraries open them. */
const CONNECTIONS = [
  "foreign_keys=ON; PRAGMA recursive_triggers=OFF",
  "foreign_keys=OFF; PRAGMA recursive_triggers=ON",
  "foreign_keys=ON; PRAGMA recursive_triggers=ON; PRAGMA trusted_schema=OFF",
] as const;

export type Step = { kind: "sql"; connection: number; sql: string } | { kind: "drain" } | { kind: "sync" };

/** A history of one application on one node, with the forms of SQL that make capture hard. */
export function history(seed: number, length: number): Step[] {
  const random = seededRandom(seed);
  const statement = (at: number): string | null => {
    const n = random.below(6);
    switch (random.below(46)) {
      case 0:
      case 1:
        return `INSERT OR REPLACE INTO team(id, name, rank) VALUES (${random.below(2) === 0 ? "NULL" : n + 1}, 'team ${n}', ${at})`;
      case 2:
        return `INSERT OR IGNORE INTO team(name, rank) VALUES ('team ${n}', ${at})`;
      case 3:
      case 4:
        return `UPDATE OR REPLACE team SET name = 'team ${n}' WHERE id = ${random.below(6)}`;
      case 5:
        return `UPDATE OR IGNORE team SET id = id + 1000 WHERE id = (SELECT min(id) FROM team)`;
      case 6:
      case 7:
        return `INSERT INTO robot(team_id, label) SELECT id, 'robot ${at}' FROM team LIMIT 2`;
      case 8:
        return `DELETE FROM team WHERE id = (SELECT max(id) FROM team)`;
      case 9:
        return `UPDATE robot SET label = label || '.' WHERE id IN (SELECT id FROM robot LIMIT 2)`;
      case 10:
        return `REPLACE INTO setting VALUES ('app', 's${n}', ${at})`;
      case 11:
        return `UPDATE OR REPLACE setting SET name = 's${random.below(6)}' WHERE name = 's${n}'`;
      case 12:
      case 13:
        return `INSERT INTO event(kind, value, team_id) VALUES ('kind ${n % 2}', ${n % 3}, NULL), ('kind ${n % 2}', ${n % 3}, (SELECT max(id) FROM team))`;
      case 14:
        return `UPDATE event SET value = ${n % 3} WHERE rowid = (SELECT rowid FROM event WHERE kind = 'kind ${n % 2}' LIMIT 1 OFFSET ${random.below(3)})`;
      case 15:
        return `DELETE FROM event WHERE rowid = (SELECT rowid FROM event WHERE value = ${n % 3} LIMIT 1 OFFSET ${random.below(2)})`;
      case 16:
        return `INSERT INTO event SELECT kind, value + 1.0, team_id FROM event LIMIT 2`;
      case 17:
        return `INSERT OR REPLACE INTO event(rowid, kind) VALUES (${n + 1}, 'kind ${n % 2}')`;
      case 18:
        return `UPDATE OR REPLACE event SET rowid = rowid + ${1 + random.below(3)} WHERE rowid = (SELECT min(rowid) FROM event)`;
      case 19:
        return `INSERT OR REPLACE INTO badge(code, owner) VALUES ('Code ${n}', 'owner ${at % 3}'), ('code ${n % 3}', 'owner ${at % 2}')`;
      case 20:
        return `UPDATE OR REPLACE badge SET code = 'CODE ${n}' WHERE owner = 'owner ${random.below(3)}'`;
      case 21:
        return random.below(2) === 0 ? "VACUUM" : `DELETE FROM badge WHERE code = 'code ${n}'`;
      case 22:
      case 23:
        return `INSERT OR REPLACE INTO part VALUES (${n % 2 === 0 ? "NULL" : `'p${n % 3}'`}, ${n % 3 === 0 ? "NULL" : "'left'"}, ${random.below(5)}, ${at})`;
      case 24:
        return `UPDATE OR IGNORE part SET code = ${random.below(2) === 0 ? "NULL" : `'p${n}'`} WHERE rowid = (SELECT rowid FROM part LIMIT 1 OFFSET ${random.below(3)})`;
      case 25:
        return `UPDATE OR REPLACE part SET side = NULL, serial = ${random.below(5)} WHERE rowid = (SELECT max(rowid) FROM part)`;
      case 27:
        return `INSERT OR REPLACE INTO mail(address, active) VALUES ('${"aAb"[n % 3]}@x${n % 2}', ${random.below(2)})`;
      case 28:
        return `UPDATE OR REPLACE mail SET active = 1 - active WHERE id = (SELECT id FROM mail LIMIT 1 OFFSET ${random.below(3)})`;
      case 29:
        return `UPDATE OR ${random.below(2) === 0 ? "REPLACE" : "IGNORE"} mail SET address = upper(address) || '${n % 2}' WHERE active = ${n % 2}`;
      case 30:
        return `INSERT INTO team(id, name, rank) VALUES (${n + 1}, 'team ${random.below(6)}', ${at}) ON CONFLICT(id) DO UPDATE SET rank = excluded.rank, name = excluded.name`;
      case 31:
        return `INSERT INTO setting VALUES ('app', 's${n}', ${at}) ON CONFLICT DO UPDATE SET value = value || ',' || excluded.value RETURNING value`;
      case 32:
        return `INSERT INTO badge(code, owner) VALUES ('code ${n}', '${at}') ON CONFLICT(code) DO UPDATE SET note = ifnull(note, 0) + 1, code = excluded.code || '.'`;
      case 33:
        return `UPDATE robot SET label = team.name || ' ${at}' FROM team WHERE team.id = robot.team_id AND team.rank % 2 = ${n % 2}`;
      case 34:
        return `BEGIN; INSERT INTO team(name) VALUES ('team ${n}'); UPDATE event SET kind = 'never' WHERE value = ${n % 3}; DELETE FROM part; ROLLBACK`;
      case 35:
        return `SAVEPOINT a; INSERT INTO event(kind, value) VALUES ('kept', ${n}); SAVEPOINT b; INSERT OR REPLACE INTO badge(code, owner) VALUES ('code ${n}', 'undone'); DELETE FROM setting; ROLLBACK TO b; UPDATE part SET note = ${at} WHERE code IS NULL; RELEASE a`;
      case 36:
        return `INSERT OR ${["FAIL", "ABORT", "ROLLBACK"][n % 3]} INTO team(name, rank) VALUES ('team ${at}', ${n}), ('team ${n}', ${at}), ('team ${(n + 1) % 6}', ${at})`;
      case 37:
        return `UPDATE OR ${["FAIL", "ABORT", "ROLLBACK"][n % 3]} mail SET address = 'same@x' || (id % 2), active = 1`;
      case 38:
        return `BEGIN; PRAGMA defer_foreign_keys = ON; INSERT INTO robot(team_id, label) VALUES (7${n}, 'early ${at}'); INSERT OR IGNORE INTO team(id, name) VALUES (7${n}, 'late ${at}'); COMMIT`;
      case 39:
        return `DELETE FROM event WHERE value = ${n % 3} RETURNING kind`;
      case 40:
        return `INSERT INTO part SELECT code, side, NULL, note FROM part WHERE code IS NULL OR side IS NULL LIMIT 2`;
      case 41:
        return `UPDATE team SET id = -id, name = name || '-' WHERE id = (SELECT max(id) FROM team WHERE id > 0)`;
      case 26:
        return `DELETE FROM part WHERE code IS NULL AND note % 2 = ${at % 2}`;
      default:
        return null;
    }
  };
  return Array.from({ length }, (_, at): Step => {
    const sql = statement(at);
    if (sql !== null) return { kind: "sql", connection: random.below(CONNECTIONS.length), sql };
    return { kind: random.below(2) === 0 ? "drain" : "sync" };
  });
}

/** Runs a history on one replica, pulls it into another that nobody writes to, and says how they differ in the end. */
export function play(steps: readonly Step[]): string[] {
  const folder = memoryFolder("application");
  const random = seededRandom(1);
  let nowUs = 1_700_000_000_000_000;
  const start = (name: string) => {
    const path = createDatabase(joinPath(folder, `${name}.db`), SCHEMA);
    const options = {
      name: "app",
      path,
      nodeName: name,
      nodeId: name,
      exclude: [],
      baseline: null,
      busyTimeoutMs: 1_000,
      pollIntervalMs: 50,
    };
    const surroundings = {
      nowUs: () => (nowUs += 1_000),
      random: (bytes: number) => Uint8Array.from({ length: bytes }, () => random.below(256)),
    };
    return new ReplicaDatabase(options, `run-${name}`, surroundings);
  };
  const source = start("source");
  const copy = start("copy");
  const application = CONNECTIONS.map((pragmas) => {
    const connection = new Database(source.path, { timeout: 1_000 });
    connection.exec(`PRAGMA ${pragmas}`);
    return connection;
  });
  const pull = () => {
    for (;;) {
      const from = join(copy.state().vector, copy.position("run-source"));
      const batch = source.read({ from, batchSize: 0, codecs: ["identity"], beyondDigest: copy.beyondDigest() });
      const { verified } = copy.apply(batch);
      if (batch.final) return verified;
    }
  };
  try {
    for (const step of steps) {
      if (step.kind === "drain") source.drain();
      else if (step.kind === "sync") pull();
      else attempt(application[step.connection], step.sql);
    }
    const verified = pull();
    const found = differences(dumpDatabase(source.path), dumpDatabase(copy.path));
    return verified === false && found.length === 0 ? ["the replicas say that they differ, and their tables are equal"] : found;
  } catch (error) {
    return [error instanceof Error ? error.message : String(error)];
  } finally {
    for (const connection of application) connection.close();
    source.close();
    copy.close();
    rmSync(folder, { recursive: true, force: true });
  }
}

/** What a constraint of the application's own schema refuses is the application's business. */
function attempt(connection: Database.Database | undefined, sql: string): void {
  try {
    connection?.exec(sql);
  } catch (error) {
    if (!(error instanceof Error && /constraint failed/.test(error.message))) throw error;
  }
  // A statement in the middle of several may have been refused.
  if (connection?.inTransaction) connection.exec("ROLLBACK");
}

/** The shortest history that still differs, by leaving out one step after the other. */
export function shrink(steps: readonly Step[]): Step[] {
  let shortest = [...steps];
  for (let at = shortest.length - 1; at >= 0; at--) {
    const shorter = shortest.filter((_, other) => other !== at);
    if (play(shorter).length === 0) continue;
    shortest = shorter;
    at = shortest.length;
  }
  return shortest;
}
