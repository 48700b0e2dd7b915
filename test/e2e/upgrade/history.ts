/**
 * What happened on the three servers of the kept fleets, before a newer program came: said once, for the script that
 * makes them with a released version and for the test that upgrades them.
 */

/** Small pages: a kept file is mostly empty tables and indexes. */
export const SCHEMA = `PRAGMA page_size = 512;
  CREATE TABLE team(id INTEGER PRIMARY KEY, name TEXT NOT NULL, rank INTEGER);
  CREATE TABLE robot(id INTEGER PRIMARY KEY AUTOINCREMENT, team_id INTEGER NOT NULL REFERENCES team(id) ON DELETE CASCADE,
    label TEXT NOT NULL, photo BLOB);
  CREATE TABLE word(lang TEXT, k TEXT COLLATE NOCASE, line TEXT, PRIMARY KEY(lang, k)) WITHOUT ROWID;
  CREATE TABLE tag(id INTEGER PRIMARY KEY, label TEXT NOT NULL UNIQUE, note TEXT);
  CREATE TABLE note(line TEXT);
  INSERT INTO team VALUES(1, 'one', 0), (2, 'two', 0), (3, 'three', 0), (4, 'four', 0), (5, 'five', 0);
  INSERT INTO robot VALUES(1, 1, 'first', x'00ff'), (2, 3, 'goes with three', NULL), (3, 4, 'last', NULL);
  INSERT INTO word VALUES('en', 'Key', 'key'), ('en', 'gone', 'gone');
  INSERT INTO note VALUES('twice'), ('twice'), ('once');`;

export const SERVERS = ["a", "b", "c"] as const;
export type Server = (typeof SERVERS)[number];

/** Either an application's transaction at one server, with foreign keys on, or a session of two nodes. */
export type Step = { at: Server; sql: string } | { sync: readonly [Server, Server] };

const EVERYBODY: Step[] = [{ sync: ["a", "b"] }, { sync: ["b", "c"] }, { sync: ["a", "b"] }];

/** While all three nodes run. */
export const HISTORY: readonly Step[] = [
  ...EVERYBODY,
  // A conflict that is settled, and one that stays open.
  { at: "a", sql: "UPDATE team SET rank = 10 WHERE id = 1" },
  { at: "b", sql: "UPDATE team SET rank = 11 WHERE id = 1" },
  ...EVERYBODY,
  { at: "c", sql: "UPDATE team SET rank = 12 WHERE id = 1" },
  { at: "a", sql: "UPDATE team SET rank = 20 WHERE id = 2" },
  { at: "b", sql: "UPDATE team SET rank = 21 WHERE id = 2" },
  // Deleted: a row with its children; one that another server edits later; one that another gives a child.
  { at: "a", sql: "DELETE FROM team WHERE id = 3; DELETE FROM word WHERE k = 'gone'; DELETE FROM note WHERE line = 'once'" },
  { at: "a", sql: "DELETE FROM team WHERE id = 5" },
  { at: "b", sql: "UPDATE team SET name = 'five, edited' WHERE id = 5" },
  { at: "a", sql: "DELETE FROM robot WHERE team_id = 4; DELETE FROM team WHERE id = 4" },
  { at: "c", sql: "INSERT INTO robot(id, team_id, label) VALUES(40, 4, 'keeps four')" },
  // One integer for two rows, each with a child.
  { at: "a", sql: "INSERT INTO team VALUES(7, 'seven of a', 7); INSERT INTO robot(id, team_id, label) VALUES(70, 7, 'on seven of a')" },
  { at: "b", sql: "INSERT INTO team VALUES(7, 'seven of b', 7); INSERT INTO robot(id, team_id, label) VALUES(71, 7, 'on seven of b')" },
  // One UNIQUE value for two rows, and a row that comes to want one which another has.
  { at: "a", sql: "INSERT INTO tag VALUES(1, 'admin', 'of a'), (2, 'red', 'of a')" },
  { at: "b", sql: "INSERT INTO tag VALUES(5, 'admin', 'of b'), (6, 'blue', 'of b')" },
  { at: "c", sql: "INSERT INTO note VALUES('twice'); INSERT INTO word VALUES('en', 'key ', 'another')" },
  ...EVERYBODY,
  { at: "a", sql: "UPDATE tag SET label = 'green' WHERE label = 'red'" },
  { at: "b", sql: "UPDATE tag SET label = 'green' WHERE label = 'blue'" },
  { sync: ["a", "b"] },
  // From here on each knows something that the others do not.
  { at: "a", sql: "INSERT INTO team VALUES(8, 'only a knows', 8)" },
  { at: "b", sql: "UPDATE word SET line = 'only b knows' WHERE k = 'Key'" },
  { at: "c", sql: "DELETE FROM robot WHERE label = 'on seven of a'; UPDATE robot SET label = 'only c knows' WHERE id = 1" },
];

/** After all three were killed: nobody has drained this. */
export const AFTERWARDS: readonly Step[] = [
  { at: "a", sql: "INSERT INTO note VALUES('not drained at a')" },
  { at: "b", sql: "INSERT INTO team VALUES(8, 'not drained at b', 8)" },
  { at: "c", sql: "DELETE FROM word WHERE k = 'key '" },
];
