import { scoutingJson, sqliteProgram } from "@scoutsync/testkit";
import { commit, type Scene, type Server } from "./scene.ts";

/** Ids that SQLite handed out, per table: two servers that do not see each other get the same ones. */
export type GivenIds = Map<string, Set<number>>;

function remember(given: GivenIds, table: string, id: number | undefined): void {
  const ids = given.get(table) ?? new Set<number>();
  if (id !== undefined) ids.add(id);
  given.set(table, ids);
}

/** An artist with an album and three tracks in one transaction, the last track also in a playlist. */
export async function addAlbum({ ledger }: Scene, server: Server, label: string, given: GivenIds): Promise<void> {
  const artist = `Artist ${label}`;
  const album = `Album ${label}`;
  const tracks = [1, 2, 3].map((number) => `Track ${number} ${label}`);
  const ids = await commit(server, "chinook", [
    [`INSERT INTO Artist (Name) VALUES (?)`, [artist]],
    [`INSERT INTO Album (Title, ArtistId) SELECT ?, max(ArtistId) FROM Artist WHERE Name = ?`, [album, artist]],
    ...tracks.map(
      (track) =>
        [
          `INSERT INTO Track (Name, AlbumId, MediaTypeId, Milliseconds, UnitPrice) SELECT ?, max(AlbumId), 1, 180000, 0.99 FROM Album WHERE Title = ?`,
          [track, album],
        ] as const,
    ),
    [`INSERT INTO PlaylistTrack (PlaylistId, TrackId) SELECT 18, max(TrackId) FROM Track WHERE Name = ?`, [tracks[2] ?? ""]],
  ]);
  const written = { node: server.name, database: "chinook" };
  const ofAlbum = { column: "AlbumId", table: "Album", key: "AlbumId", marker: { column: "Title", value: album } };
  ledger.row({ ...written, table: "Artist", marker: { column: "Name", value: artist }, values: {} });
  ledger.row({
    ...written,
    table: "Album",
    marker: { column: "Title", value: album },
    values: {},
    parent: { column: "ArtistId", table: "Artist", key: "ArtistId", marker: { column: "Name", value: artist } },
  });
  for (const track of tracks) {
    ledger.row({
      ...written,
      table: "Track",
      marker: { column: "Name", value: track },
      values: { Milliseconds: 180000, UnitPrice: 0.99 },
      parent: ofAlbum,
    });
  }
  ledger.link({
    ...written,
    table: "PlaylistTrack",
    ends: [
      { column: "TrackId", table: "Track", key: "TrackId", marker: { column: "Name", value: tracks[2] ?? "" } },
      { column: "PlaylistId", table: "Playlist", key: "PlaylistId", marker: { column: "Name", value: "On-The-Go 1" } },
    ],
  });
  for (const [at, table] of ["Artist", "Album", "Track", "Track", "Track"].entries()) remember(given, table, ids[at]);
}

/** `count` scouting rows in one transaction, each for a team that everyone knows. */
export async function addScouting(
  { ledger, random }: Scene,
  server: Server,
  label: string,
  count: number,
  given: GivenIds,
  firstId?: number,
): Promise<void> {
  const rows = Array.from({ length: count }, (_, at) => ({
    id: firstId === undefined ? null : firstId + at,
    scout: `${label} ${at}`,
    team: `Team ${1001 + random.below(60)}`,
    match: 1 + random.below(100),
    json: scoutingJson(random),
  }));
  const sql = `INSERT INTO scouting_data (id, match_id, team_id, scout_name, scouting_station, alliance, data_json) SELECT ?, ?, id, ?, 1, 'red', ? FROM team WHERE team_name = ?`;
  const ids = await commit(
    server,
    "scouting",
    rows.map(({ id, match, scout, json, team }) => [sql, [id, match, scout, json, team]] as const),
  );
  for (const [at, { scout, team, json }] of rows.entries()) {
    remember(given, "scouting_data", ids[at]);
    ledger.row({
      node: server.name,
      database: "scouting",
      table: "scouting_data",
      marker: { column: "scout_name", value: scout },
      values: { data_json: json, alliance: "red" },
      parent: { column: "team_id", table: "team", key: "id", marker: { column: "team_name", value: team } },
    });
  }
}

/** A user, written by a person at the `sqlite3` shell where that program is here. */
export async function addUser({ ledger }: Scene, server: Server, username: string): Promise<"sqlite3" | "application"> {
  const sql = `INSERT INTO "user" (username, email, scouting_team_number) VALUES ('${username}', '${username}@example.org', 5454)`;
  const byHand = sqliteProgram(server.files.users, sql) !== null;
  if (!byHand) await commit(server, "users", [[sql, []]]);
  ledger.row({
    node: server.name,
    database: "users",
    table: "user",
    marker: { column: "username", value: username },
    values: { email: `${username}@example.org`, scouting_team_number: 5454 },
  });
  return byHand ? "sqlite3" : "application";
}

/** Changes one column of a customer that all servers had from the start. */
export async function editCustomer({ ledger }: Scene, server: Server, email: string, column: string, value: string): Promise<void> {
  await commit(server, "chinook", [[`UPDATE Customer SET ${column} = ? WHERE Email = ?`, [value, email]]]);
  ledger.edit({ node: server.name, database: "chinook", table: "Customer", marker: { column: "Email", value: email }, column, value });
}

/** Changes one column of a team that all servers had from the start. */
export async function editTeam({ ledger }: Scene, server: Server, team: string, column: string, value: string): Promise<void> {
  await commit(server, "scouting", [[`UPDATE team SET ${column} = ? WHERE team_name = ?`, [value, team]]]);
  ledger.edit({ node: server.name, database: "scouting", table: "team", marker: { column: "team_name", value: team }, column, value });
}

/** Deletes a scouting row that nobody else touches. */
export async function deleteScouting({ ledger }: Scene, server: Server, scout: string): Promise<void> {
  await commit(server, "scouting", [[`DELETE FROM scouting_data WHERE scout_name = ?`, [scout]]]);
  const at = ledger.rows.findIndex((row) => row.marker.value === scout);
  if (at >= 0) ledger.rows.splice(at, 1);
  ledger.delete({ node: server.name, database: "scouting", table: "scouting_data", marker: { column: "scout_name", value: scout } });
}
