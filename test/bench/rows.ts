import Database from "better-sqlite3";

/** The `scouting_data` shape of performance.md: two indexes, about 300 bytes a row, parents that its rows refer to. */
export const SCHEMA = `
CREATE TABLE team(id INTEGER NOT NULL PRIMARY KEY, team_number INTEGER NOT NULL);
CREATE TABLE match(id INTEGER NOT NULL PRIMARY KEY, match_number INTEGER NOT NULL);
CREATE TABLE scouting_data(id INTEGER NOT NULL PRIMARY KEY, match_id INTEGER NOT NULL REFERENCES match(id),
  team_id INTEGER NOT NULL REFERENCES team(id), scouting_team_number INTEGER, scout_name VARCHAR(50), scout_id INTEGER,
  scouting_station INTEGER, timestamp DATETIME, alliance VARCHAR(10), data_json TEXT NOT NULL);
CREATE INDEX ix_scouting_data_match ON scouting_data(match_id);
CREATE INDEX ix_scouting_data_team ON scouting_data(team_id);
`;

const INSERT = "INSERT INTO scouting_data VALUES(?, ?, ?, ?, ?, ?, ?, ?, ?, ?)";
const UPDATE = "UPDATE scouting_data SET data_json = ?, timestamp = ? WHERE id = ?";

/** The same rows for the same seed. */
export function rowSource(seed = 1): (id: number) => unknown[] {
  let state = seed;
  const random = () => {
    state = (state * 1_103_515_245 + 12_345) & 0x7fffffff;
    return state / 0x7fffffff;
  };
  return (id) => [
    id,
    1 + Math.floor(random() * 100),
    1 + Math.floor(random() * 60),
    5454,
    `scout ${id % 40}`,
    1 + (id % 40),
    1 + (id % 6),
    `2026-03-01 10:${String(id % 60).padStart(2, "0")}:00`,
    id % 2 === 0 ? "blue" : "red",
    JSON.stringify({
      auto: Math.floor(random() * 10),
      teleop: Math.floor(random() * 40),
      climb: random() < 0.5,
      notes: `fast cycles, ${Math.floor(random() * 1e9).toString(36)}`,
      coral: [1, 2, 3, 4].map(() => Math.floor(random() * 9)),
      algae: random(),
      defence: Math.floor(random() * 5),
      endgame: "park",
      rank: random(),
    }),
  ];
}

/** Opens (and makes, when it is not there) a database the way an application with durable commits does. */
export function openApplication(path: string): Database.Database {
  const db = new Database(path, { timeout: 5_000 });
  db.pragma("journal_mode = WAL");
  db.pragma("synchronous = FULL");
  db.pragma("cache_size = -65536");
  if (db.prepare("SELECT count(*) FROM sqlite_master WHERE name = 'team'").pluck().get() === 0) {
    db.exec(SCHEMA);
    db.exec("WITH RECURSIVE c(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM c WHERE i < 100) INSERT INTO match SELECT i, i FROM c");
    db.exec("INSERT INTO team SELECT id, 100 + id FROM match WHERE id <= 60");
  }
  return db;
}

/** Runs `each` for every item in transactions of `size`; returns milliseconds spent in them, without making the items. */
function inTransactions<T>(db: Database.Database, items: (i: number) => T, count: number, size: number, each: (item: T) => void): number {
  let spent = 0;
  for (let from = 0; from < count; from += size) {
    const made = Array.from({ length: Math.min(size, count - from) }, (_, i) => items(from + i));
    const start = performance.now();
    db.exec("BEGIN IMMEDIATE");
    for (const item of made) each(item);
    db.exec("COMMIT");
    spent += performance.now() - start;
  }
  return spent;
}

/** Inserts rows `first`..`first + count - 1`; milliseconds. */
export function insertRows(db: Database.Database, count: number, size: number, first = 1, seed = 1): number {
  const source = rowSource(seed);
  const statement = db.prepare(INSERT);
  return inTransactions(
    db,
    (i) => source(first + i),
    count,
    size,
    (row) => statement.run(row),
  );
}

/** Updates two columns of rows 1..count; milliseconds. */
export function updateRows(db: Database.Database, count: number, size: number, seed = 2): number {
  const source = rowSource(seed);
  const statement = db.prepare(UPDATE);
  return inTransactions(
    db,
    (i) => source(1 + i),
    count,
    size,
    (row) => statement.run(row[9], "2026-03-02 09:00:00", row[0]),
  );
}
