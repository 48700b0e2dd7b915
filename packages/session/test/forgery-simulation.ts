import { type ChangeBatch, join, type VersionVector } from "@scoutsync/core";
import type { Replica } from "@scoutsync/replica";
import { seeded } from "../../replica/test/seeded.ts";
import { SECOND_US, Site, START_US } from "../../replica/test/site.ts";
import { Acquaintances, Receipts, runSession } from "../src/index.ts";
import { DirectPeer } from "./direct-peer.ts";
import { refusalOf, tell } from "./forger.ts";

const SCHEMA = "CREATE TABLE word(k TEXT PRIMARY KEY, x TEXT); CREATE TABLE note(id INTEGER PRIMARY KEY, x TEXT)";
const NAMES = ["a", "b", "c"];
const HOUR_US = 3_600 * SECOND_US;
const STEPS = 40;
/** Sessions of all pairs, both ways round: what a lie has to be mended by. */
const ROUNDS = 5;

/** A site as sessions see replicas. */
function replicaOf(site: Site): Replica {
  const node = { id: site.name, name: site.name };
  const listening = { onChange: () => () => {}, node, name: "main", terms: "" };
  return new Proxy(listening as unknown as Replica, {
    get(target, property) {
      const { replica } = site;
      if (property === "state") return replica.state();
      if (property === "run") return replica.run;
      if (property in target) return Reflect.get(target, property);
      const name = ({ members: "memberWords", digest: "digests" } as Record<string, string>)[String(property)] ?? String(property);
      return async (...args: unknown[]) => (Reflect.get(replica, name) as (...given: unknown[]) => unknown).apply(replica, args);
    },
  });
}

interface Member {
  site: Site;
  replica: Replica;
  acquaintances: Acquaintances;
}

export interface Forgery {
  seed: number;
  /** What was done, in order. */
  steps: string[];
  /** Rows that their author has written last, by table and text, and did not delete; where each is missing. */
  lost: string[];
  /** Rows that their author has deleted and that are there. */
  back: string[];
  /** Sites that are not equal in the end. */
  apart: string[];
}

/**
 * Three that write, delete, forget and sync, and a member that knows the protocol and lies to them: claims changes of others that
 * it does not send, or that nobody made, that deleted rows were forgotten, rows under another one's next number, where another one's
 * stream stands, what others have; and says old things again. Each row has one author, who alone knows what became of it.
 */
export async function forgery(seed: number): Promise<Forgery> {
  const random = seeded(seed);
  const below = (n: number) => Math.floor(random() * n);
  const pick = <T>(all: readonly T[]): T => all[below(all.length)] as T;
  const members: Member[] = NAMES.map((name, at) => {
    const site = new Site(name, SCHEMA, { random: seeded(seed * 10 + at) });
    const replica = replicaOf(site);
    return { site, replica, acquaintances: new Acquaintances(new Receipts((node, vector) => replica.acknowledge(node, vector))) };
  });
  const forger = new Site("forger", SCHEMA, { random: seeded(seed * 10 + 9) });
  const forgers = replicaOf(forger);
  const everyone = [...members.map(({ site }) => site), forger];
  let nowUs = START_US;
  const pass = (us: number) => {
    nowUs += us;
    for (const site of everyone) site.nowUs = nowUs;
  };
  /** By author: what is in each row, null once it was deleted. */
  const ledger = new Map<string, { table: string; author: Site; text: string | null; before: string[] }>();
  const said: { target: Member; batch: ChangeBatch }[] = [];
  const steps: string[] = [];
  let drawn = 0;

  const write = ({ site }: Member) => {
    pass(SECOND_US);
    const own = [...ledger].filter(([, row]) => row.author === site && row.text !== null);
    const kind = own.length > 3 ? below(4) : 0;
    if (kind < 2) {
      const text = `${site.name}${++drawn}`;
      const table = pick(["word", "note"]);
      site.edit(table === "word" ? `INSERT INTO word VALUES('${text}', '${text}')` : `INSERT INTO note(x) VALUES('${text}')`, nowUs);
      ledger.set(text, { table, author: site, text, before: [] });
      return `${site.name} writes ${text}`;
    }
    const [name, row] = pick(own);
    const where = row.table === "word" ? `k = '${name}'` : `x = '${row.text}'`;
    if (row.text !== null) row.before.push(row.text);
    if (kind === 2) {
      row.text = `${name}.${++drawn}`;
      site.edit(`UPDATE ${row.table} SET x = '${row.text}' WHERE ${where}`, nowUs);
      return `${site.name} edits ${name}`;
    }
    row.text = null;
    site.edit(`DELETE FROM ${row.table} WHERE ${where}`, nowUs);
    return `${site.name} deletes ${name}`;
  };
  const meet = async (here: Member, there: Member): Promise<string> => {
    pass(SECOND_US);
    const peer = new DirectPeer(there.replica);
    const { errors, verified } = await runSession({
      databases: [{ replica: here.replica, acquaintances: here.acquaintances }],
      peer,
      nodeName: here.site.name,
      named: true,
      retries: 0,
    });
    // As the calls of a session tell, each of itself.
    await there.replica.acknowledge(here.replica.node, here.replica.state.vector);
    await here.replica.acknowledge(there.replica.node, there.replica.state.vector);
    const [words, theirs] = [await here.replica.members(), await there.replica.members()];
    await there.replica.learnMembers(words);
    await here.replica.learnMembers(theirs);
    return `${here.site.name} syncs with ${there.site.name}: ${errors.map(({ code }) => code).join()} ${verified ? "verified" : ""}`;
  };
  const origins = (): string[] => [...new Set(members.flatMap(({ replica }) => [...replica.state.vector.keys()]))];
  const more = (vector: VersionVector): VersionVector => {
    const origin = origins().length > 0 ? pick(origins()) : "a".repeat(16);
    return join(vector, new Map([[origin, (vector.get(origin) ?? 0) + 1 + below(pick([3, 50]))]]));
  };
  const lie = async (target: Member): Promise<string> => {
    pass(SECOND_US);
    const { replica, site } = target;
    const { vector, floor } = replica.state;
    const kind = below(8);
    switch (kind) {
      case 0:
        return `claims made up: ${await tell(replica, { vector: more(vector) })} to ${site.name}`;
      case 1:
        return `claims to have sent all: ${await tell(replica, { vector: join(vector, forgers.state.vector) })} to ${site.name}`;
      case 2: {
        const claimed = pick([vector, more(vector)]);
        await tell(replica, { vector: claimed });
        return `claims that all was forgotten: ${await tell(replica, { vector: claimed, floor: join(floor, claimed) })} to ${site.name}`;
      }
      case 3: {
        if (origins().length === 0) return "nothing";
        const origin = pick(origins());
        const sequence = (vector.get(origin) ?? 0) + 1 + below(2);
        const table = pick(["word", "note"] as const);
        const row = {
          table,
          origin,
          sequence,
          timeUs: nowUs,
          key: table === "word" ? `f${++drawn}` : String(below(30) + 1),
          value: `forged${drawn}`,
        };
        const lied = join(vector, new Map([[origin, sequence]]));
        return `forges ${table} ${origin}:${sequence}: ${await tell(replica, { vector: lied, row })} to ${site.name}`;
      }
      case 4: {
        const words = members.map(({ replica: { node } }) => ({
          node,
          vector: more(vector),
          atUs: nowUs + below(2) * HOUR_US,
          retired: below(3) === 0,
        }));
        return `tells of others: ${await refusalOf(() => replica.learnMembers(words))} to ${site.name}`;
      }
      case 5: {
        const other = pick(members.filter((one) => one !== target));
        const to = join(vector, pick([other.replica.state.vector, more(vector)]));
        return `says where ${other.site.name}'s stream stands: ${await tell(replica, { run: other.replica.run, to, final: false })} to ${site.name}`;
      }
      case 6: {
        const old = said.filter((one) => one.target === target);
        if (old.length === 0) return "nothing";
        const { batch } = pick(old);
        return `says again: ${await refusalOf(() => replica.apply({ ...batch }))} to ${site.name}`;
      }
      default: {
        const { run: _, ...batch } = forger.batchFor(site);
        const taken: ChangeBatch = { ...batch, run: "run-of-the-forger" };
        said.push({ target, batch: taken });
        return `is honest for once: ${await refusalOf(() => replica.apply({ ...taken }))} to ${site.name}`;
      }
    }
  };

  await meet(members[0]!, members[1]!);
  for (let step = 0; step < STEPS; step++) {
    const what = random();
    const one = pick(members);
    if (what < 0.4) steps.push(write(one));
    else if (what < 0.55) steps.push(await meet(one, pick(members.filter((other) => other !== one))));
    else if (what < 0.62) {
      pass(25 * HOUR_US);
      steps.push(`${one.site.name} forgets ${(await one.replica.forget({ retentionDays: 1, dryRun: false })).forgotten}`);
    } else if (what < 0.7) {
      steps.push(`the forger listens: ${await refusalOf(async () => void forger.pull(one.site))} to ${one.site.name}`);
    } else steps.push(await lie(one));
  }
  // The forger is gone; the others go on as ever.
  for (let round = 0; round < ROUNDS; round++) {
    pass(2 * HOUR_US);
    for (const here of members) for (const there of members) if (here !== there) steps.push(await meet(here, there));
  }
  const result: Forgery = { seed, steps, lost: [], back: [], apart: [] };
  for (const { site } of members) {
    for (const [name, { table, text, before }] of ledger) {
      const held = site.rows(`SELECT x FROM ${table}`).map(({ x }) => String(x));
      if (text !== null && !held.includes(text)) result.lost.push(`${site.name} lacks ${table} ${name} = ${text}`);
      if (text === null && before.some((one) => held.includes(one))) result.back.push(`${site.name} has ${table} ${name}`);
    }
  }
  const [first] = members;
  for (const { site } of members)
    for (const table of ["word", "note"])
      if (
        JSON.stringify(site.rows(`SELECT * FROM ${table} ORDER BY 1`)) !==
        JSON.stringify(first!.site.rows(`SELECT * FROM ${table} ORDER BY 1`))
      )
        result.apart.push(`${site.name} and ${first!.site.name} differ in ${table}`);
  for (const site of everyone) site.stop();
  return result;
}
