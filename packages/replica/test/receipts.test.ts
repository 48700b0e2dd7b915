import { readdirSync, readFileSync } from "node:fs";
import { describe, expect, test } from "vitest";
import { formatVector } from "@scoutsync/core";
import { SECOND_US, settle, Site, START_US } from "./site.ts";

const SCHEMA = "CREATE TABLE note(id INTEGER PRIMARY KEY, text TEXT)";

/** What `from` has, told to `to` as a session does. */
const tell = (to: Site, from: Site) => to.replica.acknowledge({ id: `id of ${from.name}`, name: from.name }, from.replica.state().vector);

/** Writes a note as the application does and asks for its number in the same transaction. */
function written(site: Site, text: string): number {
  return site.app.transaction(() => {
    site.app.prepare("INSERT INTO note(text) VALUES(?)").run(text);
    return site.one("SELECT write FROM _scoutsync_last_write") as number;
  })();
}

const has = (site: Site, peer: Site) => site.one(`SELECT has_up_to FROM _scoutsync_receipts WHERE peer = '${peer.name}'`);
const holds = (site: Site, text: string) => site.one(`SELECT count(*) FROM note WHERE text = '${text}'`) === 1;

describe("an application asks whether a write has reached others", () => {
  test("a write is said to be there once it is, and not before", () => {
    const [a, b] = [new Site("a", SCHEMA), new Site("b", SCHEMA)];
    a.app.pragma("trusted_schema = OFF");
    settle(a, b);
    const writes: { text: string; number: number }[] = [];
    for (let i = 0; i < 12; i++) {
      writes.push({ text: `note ${i}`, number: written(a, `note ${i}`) });
      if (i % 2 === 0) a.replica.drain();
      if (i % 3 === 0) b.pull(a);
      if (i % 5 === 0) a.restart();
      tell(a, b);
      const said = writes.filter(({ number }) => (has(a, b) as number) >= number);
      expect(said.filter(({ text }) => !holds(b, text))).toEqual([]);
    }
    settle(a, b);
    tell(a, b);
    expect(has(a, b)).toBe(writes.at(-1)!.number);
    expect(new Set(writes.map(({ number }) => number)).size).toBe(writes.length);
  });

  test("a write is not said to be there that a run drained which was killed, though the next run had nothing to add", () => {
    const [a, b] = [new Site("a", SCHEMA, { turnMs: 0 }), new Site("b", SCHEMA)];
    a.edit("INSERT INTO note(text) VALUES('old')");
    settle(a, b);
    a.write("BEGIN; INSERT INTO note(text) VALUES('new')");
    for (let i = 0; i < 3_000; i++) a.write("UPDATE note SET text = text WHERE id = 1");
    a.write("COMMIT");
    const number = a.one("SELECT write FROM _scoutsync_last_write") as number;
    expect(a.replica.drainTurn()).toBe(false);
    a.kill();
    a.start();
    tell(a, b);
    expect(holds(b, "new")).toBe(false);
    expect(has(a, b)).toBeLessThan(number);
    settle(a, b);
    tell(a, b);
    expect(holds(b, "new")).toBe(true);
    expect(has(a, b)).toBe(number);
  });

  test("numbers only rise, whatever a migration or a drain does to the dirty list", () => {
    const a = new Site("a", `${SCHEMA}; CREATE TABLE other(id INTEGER PRIMARY KEY, x TEXT)`);
    let last = written(a, "first");
    const next = (text: string) => {
      const number = written(a, text);
      expect(number).toBeGreaterThan(last);
      last = number;
    };
    next("second");
    a.replica.drain();
    next("third");
    a.write("DROP TABLE other; CREATE TABLE other(id INTEGER PRIMARY KEY, y TEXT)");
    a.replica.drain();
    next("fourth");
    a.write("INSERT INTO other(y) VALUES('dropped before it is drained')");
    last = a.one("SELECT write FROM _scoutsync_last_write") as number;
    a.write("DROP TABLE other");
    a.replica.drain();
    next("fifth");
    a.restart();
    next("sixth");
  });

  test("a peer that comes back from a backup has less than before", () => {
    const [a, b] = [new Site("a", SCHEMA), new Site("b", SCHEMA)];
    settle(a, b);
    const early = written(a, "early");
    settle(a, b);
    const backup = b.backup();
    const late = written(a, "late");
    settle(a, b);
    tell(a, b);
    expect(has(a, b)).toBe(late);
    b.replaceFile(backup);
    tell(a, b);
    expect(has(a, b)).toBeLessThan(late);
    settle(a, b);
    tell(a, b);
    expect(has(a, b)).toBe(late);
    expect(early).toBeLessThan(late);
  });

  test("a node that was retired is no longer waited for, where it is said and where word of it comes, and is listed again when it is back", () => {
    const [a, b, c] = [new Site("a", SCHEMA), new Site("b", SCHEMA), new Site("c", SCHEMA)];
    const sites = [a, b, c];
    settle(...sites);
    for (const from of sites) for (const to of sites) if (to !== from) tell(to, from);
    const number = written(a, "for those that take part");
    settle(a, b);
    tell(a, b);
    const lacking = (site: Site) => site.rows(`SELECT peer FROM _scoutsync_receipts WHERE has_up_to < ${number}`);
    expect(lacking(a)).toEqual([{ peer: "c" }]);
    a.replica.retire("c");
    expect(lacking(a)).toEqual([]);
    b.replica.learnMembers(a.replica.memberWords());
    expect(b.rows("SELECT peer FROM _scoutsync_receipts")).toEqual([{ peer: "a" }]);
    settle(...sites);
    tell(a, c);
    expect(has(a, c)).toBe(number);
  });

  test("a write that changed nothing has arrived with what came before it", () => {
    const [a, b] = [new Site("a", SCHEMA), new Site("b", SCHEMA)];
    written(a, "x");
    settle(a, b);
    a.write("UPDATE note SET text = text");
    const number = a.one("SELECT write FROM _scoutsync_last_write");
    a.restart();
    tell(a, b);
    expect(has(a, b)).toBe(number);
  });

  test("a time says the same for whoever has no number", () => {
    const [a, b] = [new Site("a", SCHEMA), new Site("b", SCHEMA)];
    a.edit("INSERT INTO note VALUES(1, 'x')", START_US + 5 * SECOND_US);
    tell(a, b);
    expect(a.one("SELECT has_until FROM _scoutsync_receipts")).toBe("1970-01-01T00:00:00.000Z");
    b.pull(a);
    tell(a, b);
    expect(a.one("SELECT has_until FROM _scoutsync_receipts")).toBe(new Date((START_US + 5 * SECOND_US) / 1000).toISOString());
  });

  test("metadata of the first version gets the views, and keeps its rows", () => {
    const a = new Site("a", SCHEMA);
    written(a, "x");
    a.replica.drain();
    a.replica.close();
    const steps = new URL("../src/sql/", import.meta.url);
    const later = readdirSync(steps)
      .filter((step) => step > "002")
      .sort();
    const made = later.map((step) => readFileSync(new URL(step, steps), "utf8")).join("\n");
    const objects = [...made.matchAll(/^CREATE (TABLE|INDEX|VIEW) (\w+)/gm)].toReversed();
    expect(objects.map(([, , name]) => name)).toContain("_scoutsync_receipts");
    for (const [, type, name] of objects) a.write(`DROP ${type} ${name}`);
    a.write("UPDATE _scoutsync_meta SET value = '1' WHERE key = 'version'");
    a.start();
    const number = written(a, "y");
    const b = new Site("b", SCHEMA);
    settle(a, b);
    tell(a, b);
    expect(has(a, b)).toBe(number);
  });

  test("the same word twice writes nothing", () => {
    const [a, b] = [new Site("a", SCHEMA), new Site("b", SCHEMA)];
    written(a, "x");
    settle(a, b);
    tell(a, b);
    const before = a.contents();
    a.nowUs += SECOND_US;
    tell(a, b);
    expect(a.contents()).toBe(before);
    expect(a.one("SELECT vector FROM _scoutsync_peer")).toBe(formatVector(b.replica.state().vector));
  });
});
