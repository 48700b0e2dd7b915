import { differences, dumpDatabase, integrityProblems, scoutsync, type ConflictRecord, type TableDump } from "@scoutsync/testkit";
import { DATABASES, NODE_NAMES, type DatabaseName, type NodeName, type Scene } from "./scene.ts";

/** One claim and what speaks against it on each node. */
export interface Claim {
  name: string;
  /** What was checked, for example "412 rows". */
  extent: string;
  problems: Readonly<Record<NodeName, string[]>>;
}

interface Ping {
  databases: { name: string; digest: string; vector: string; pending: number }[];
}

/** Checks everything with plain SQLite and the writers' ledger; the product's own word is only one claim among others. */
export async function prove(scene: Scene): Promise<Claim[]> {
  const { ledger } = scene;
  const conflicts = await each(scene, (name) => conflictsOf(scene, name));
  const dumps = await each(scene, async (name) => dumpsOf(scene, name));
  const children = ledger.rows.filter((row) => row.parent).length + ledger.links.length;
  const edits = new Set(ledger.edits.map((edit) => `${edit.node} ${edit.table} ${edit.marker.value} ${edit.column}`)).size;
  return [
    {
      name: "every acknowledged row, child, edit and delete",
      extent: `${ledger.rows.length} rows, ${children} children, ${edits} edits, ${ledger.deletes.length} deletes`,
      problems: await each(scene, async (name) => ledger.check(scene.servers[name].files, conflicts[name])),
    },
    {
      name: "losing edits in the conflict records, alike",
      extent: `${conflicts.pits.length} records`,
      problems: await each(scene, async (name) => sameRecords(conflicts.pits, conflicts[name])),
    },
    {
      name: "foreign keys and file integrity",
      extent: `${DATABASES.length} databases`,
      problems: await each(scene, async (name) => DATABASES.flatMap((database) => integrityProblems(scene.servers[name].files[database]))),
    },
    {
      name: "tables equal, by our own dump",
      extent: `${rowsOf(dumps.pits)} rows`,
      problems: await each(scene, async (name) =>
        DATABASES.flatMap((database) => differences(dumps.pits[database], dumps[name][database], 3)),
      ),
    },
    { name: "digests and vectors equal, nothing pending", extent: "as the nodes say", problems: await comparePings(scene) },
  ];
}

/** The proof as a table: one line per claim, one column per node. */
export function proofTable(claims: readonly Claim[]): string[] {
  const rows = [
    ["claim", "checked", ...NODE_NAMES],
    ...claims.map((claim) => [claim.name, claim.extent, ...NODE_NAMES.map((name) => verdict(claim, name))]),
  ];
  const widths = (rows[0] ?? []).map((_, at) => Math.max(...rows.map((row) => (row[at] ?? "").length)));
  return rows.map((row) => row.map((cell, at) => cell.padEnd(widths[at] ?? 0)).join("  "));
}

function verdict(claim: Claim, name: NodeName): string {
  const { length } = claim.problems[name];
  return length === 0 ? "yes" : `NO (${length})`;
}

async function each<T>(scene: Scene, ask: (name: NodeName) => Promise<T>): Promise<Record<NodeName, T>> {
  const { pits, stands, judges } = scene.servers;
  return { pits: await ask(pits.name), stands: await ask(stands.name), judges: await ask(judges.name) };
}

async function conflictsOf({ servers }: Scene, name: NodeName): Promise<(ConflictRecord & { id: string })[]> {
  const answer = await scoutsync(["review", "list", servers[name].node.address, "--kind", "conflict", "--json"]);
  if (answer.code !== 0) throw new Error(answer.stderr.trim());
  return answer.json<(ConflictRecord & { id: string })[]>();
}

async function dumpsOf({ servers }: Scene, name: NodeName): Promise<Record<DatabaseName, TableDump[]>> {
  const { files } = servers[name];
  return { chinook: dumpDatabase(files.chinook), scouting: dumpDatabase(files.scouting), users: dumpDatabase(files.users) };
}

function rowsOf(dumps: Record<DatabaseName, TableDump[]>): number {
  return DATABASES.flatMap((database) => dumps[database]).reduce((sum, { rows }) => sum + rows, 0);
}

function sameRecords(expected: readonly { id: string }[], found: readonly { id: string }[]): string[] {
  const ids = new Set(found.map(({ id }) => id));
  const missing = expected.filter(({ id }) => !ids.has(id)).map(({ id }) => `conflict record ${id} is missing`);
  return found.length > expected.length ? [...missing, `${found.length - expected.length} conflict records more than on pits`] : missing;
}

async function comparePings(scene: Scene): Promise<Record<NodeName, string[]>> {
  const pings = await each(scene, async (name) => (await scoutsync(["ping", scene.servers[name].node.address, "--json"])).json<Ping>());
  const compare = (name: NodeName) =>
    DATABASES.flatMap((database) => {
      const [expected, found] = [pings.pits, pings[name]].map((ping) => ping.databases.find((one) => one.name === database));
      const problems: string[] = [];
      if (!found?.digest || found.digest !== expected?.digest)
        problems.push(`${database}: digest ${String(found?.digest)} instead of ${String(expected?.digest)}`);
      if (found?.vector !== expected?.vector)
        problems.push(`${database}: vector ${String(found?.vector)} instead of ${String(expected?.vector)}`);
      if (found?.pending !== 0) problems.push(`${database}: ${String(found?.pending)} captured writes pending`);
      return problems;
    });
  return { pits: compare("pits"), stands: compare("stands"), judges: compare("judges") };
}
