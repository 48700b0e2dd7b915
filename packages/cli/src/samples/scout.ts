import { readFileSync } from "node:fs";
import { DatabaseSync, type SQLInputValue } from "node:sqlite";
import { seededRandom, type Random } from "./random.ts";

export const SAMPLES = new URL("../../samples/", import.meta.url);

/** One team at one event. */
export interface ScoutSize {
  users: number;
  teams: number;
  matches: number;
  scoutingRows: number;
}

export const ONE_EVENT: ScoutSize = { users: 40, teams: 60, matches: 100, scoutingRows: 600 };

export interface ScoutOptions {
  /** Where the two files go; they must not exist. */
  scouting: string;
  users: string;
  seed: number;
  size?: ScoutSize;
}

/** Writes `scouting.db` and `users.db` as a Scout server has them after an event, the same bytes of data for the same seed. */
export function createScoutDatabases({ scouting, users, seed, size = ONE_EVENT }: ScoutOptions): void {
  const random = seededRandom(seed);
  create(users, "users.sql", (insert) => fillUsers(insert, size));
  create(scouting, "scouting.sql", (insert) => fillScouting(insert, size, random));
}

type Insert = (table: string, row: Record<string, SQLInputValue>) => void;

function create(path: string, schema: string, fill: (insert: Insert) => void): void {
  const database = new DatabaseSync(path);
  try {
    database.exec(readFileSync(new URL(schema, SAMPLES), "utf8"));
    database.exec("BEGIN");
    fill((table, row) => {
      const columns = Object.keys(row);
      const sql = `INSERT INTO "${table}" (${columns.join(", ")}) VALUES (${columns.map(() => "?").join(", ")})`;
      database.prepare(sql).run(...Object.values(row));
    });
    database.exec("COMMIT");
  } finally {
    database.close();
  }
}

const SCOUTING_TEAM = 5454;

function fillUsers(insert: Insert, size: ScoutSize): void {
  for (const [at, name] of ["admin", "analytics", "scout"].entries())
    insert("role", { id: at + 1, name, description: `${name} of the team` });
  for (let id = 1; id <= size.users; id++) {
    insert("user", {
      id,
      username: `scout${id}`,
      email: `scout${id}@team${SCOUTING_TEAM}.example`,
      scouting_team_number: SCOUTING_TEAM,
      is_active: 1,
      created_at: "2025-01-10 08:00:00",
    });
    insert("user_roles", { user_id: id, role_id: id === 1 ? 1 : id < 6 ? 2 : 3 });
  }
}

function fillScouting(insert: Insert, size: ScoutSize, random: Random): void {
  insert("event", {
    id: 1,
    name: "Regional",
    code: "2025OKTU",
    location: "Tulsa",
    timezone: "America/Chicago",
    year: 2025,
    scouting_team_number: SCOUTING_TEAM,
  });
  for (let id = 1; id <= size.teams; id++) {
    insert("team", {
      id,
      team_number: 1000 + id,
      team_name: `Team ${1000 + id}`,
      location: random.pick(["Tulsa", "Dallas", "Omaha"]),
      scouting_team_number: SCOUTING_TEAM,
    });
    insert("team_event", { team_id: id, event_id: 1 });
  }
  const team = () => 1001 + random.below(size.teams);
  for (let id = 1; id <= size.matches; id++) {
    insert("match", {
      id,
      match_number: id,
      match_type: "Qualification",
      event_id: 1,
      red_alliance: `${team()},${team()},${team()}`,
      blue_alliance: `${team()},${team()},${team()}`,
      red_score: random.below(150),
      blue_score: random.below(150),
      timestamp: minuteOf(id * 7),
      scouting_team_number: SCOUTING_TEAM,
    });
  }
  for (let id = 1; id <= size.scoutingRows; id++) {
    const scout = 1 + random.below(size.users);
    insert("scouting_data", {
      id,
      match_id: 1 + (id % size.matches),
      team_id: 1 + random.below(size.teams),
      scouting_team_number: SCOUTING_TEAM,
      scout_name: `scout${scout}`,
      scout_id: scout,
      scouting_station: 1 + (id % 6),
      timestamp: minuteOf(id),
      alliance: random.pick(["red", "blue"]),
      data_json: scoutingJson(random),
    });
  }
}

/** What a scout typed about one robot in one match: 1 to 2 kB of JSON. */
export function scoutingJson(random: Random): string {
  const cycles = Array.from({ length: 8 + random.below(10) }, (_, at) => ({
    at_s: at * 9 + random.below(9),
    piece: random.pick(["coral", "algae"]),
    level: 1 + random.below(4),
    scored: random.below(4) > 0,
    token: random.hex(12),
  }));
  return JSON.stringify({
    auto_leave: random.below(2) === 1,
    cycles,
    climb: random.pick(["none", "shallow", "deep"]),
    notes: random.hex(60),
  });
}

function minuteOf(minutes: number): string {
  return new Date(Date.UTC(2025, 2, 14, 9, minutes)).toISOString().slice(0, 19).replace("T", " ");
}
