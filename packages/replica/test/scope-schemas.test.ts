import { once } from "node:events";
import { createRequire } from "node:module";
import { Worker } from "node:worker_threads";
import { expect, test } from "vitest";
import { parseCondition, type ScopeRule } from "../src/index.ts";
import { all, carry, copyOf, crash } from "./scope-site.ts";
import { refusal, settle, Site } from "./site.ts";

const SCHEMA = `
CREATE TABLE member(id INTEGER PRIMARY KEY, team INTEGER NOT NULL, name TEXT);
CREATE TABLE stand(id INTEGER PRIMARY KEY, team INTEGER NOT NULL, hits INTEGER DEFAULT 0, best INTEGER, tags TEXT DEFAULT '[]', by_member INTEGER, note TEXT, price INTEGER NOT NULL DEFAULT 5);
CREATE TABLE word(team INTEGER, k TEXT, n INTEGER, PRIMARY KEY(team, k));
`;
const RULES = ["stand.hits=counter", "stand.best=max", "stand.tags=set", "word.n=counter", "stand.by_member->member.id"];
const where = parseCondition("team = 1");

const scope = (columns: string[] | null = null): ScopeRule => ({
  name: "team-1",
  tables: [all("member", { where, follow: true }), all("stand", { where, columns }), all("word", { where })],
});

const main = () => new Site("server", SCHEMA, { rules: RULES });
const laptop = (name: string) => new Site(name, SCHEMA, { rules: RULES });
const stands = (site: Site, columns = "hits, best, tags, note") => site.rows(`SELECT ${columns} FROM stand WHERE team = 1 ORDER BY id`);

function start(content: string, rule = scope()) {
  const server = main();
  server.edit(content);
  const copy = copyOf(server, rule);
  carry(server, copy);
  const first = laptop("laptop");
  settle(copy, first);
  return { server, copy, first };
}

test("columns with a rule that both sides changed become one value of both, once, also when the pass is killed", () => {
  const { server, copy, first } = start(
    "INSERT INTO stand(id, team, hits, best, tags, note) VALUES(1, 1, 10, 5, '[\"a\",\"b\"]', 'x'); INSERT INTO word VALUES(1, 'w', 100)",
  );
  const second = laptop("second");
  settle(copy, second);
  first.edit(
    'UPDATE stand SET hits = hits + 3, best = 9, tags = \'["a","b","c"]\'; UPDATE word SET n = n + 1; INSERT INTO word VALUES(1, \'new\', 4)',
  );
  second.edit("UPDATE stand SET hits = hits + 4, best = 8, tags = '[\"b\"]'", second.nowUs + 5_000_000);
  server.edit(
    'UPDATE stand SET hits = hits + 20, best = 7, tags = \'["a","b","d"]\'; UPDATE word SET n = n - 10; INSERT INTO word VALUES(1, \'new\', 30)',
  );
  settle(copy, first, second);
  expect(crash(server, copy).kept).toBe(0);
  first.edit("UPDATE stand SET hits = hits + 100", first.nowUs + 9_000_000);
  settle(copy, first, second);
  expect(carry(server, copy).kept).toBe(0);
  settle(copy, first, second);
  expect(carry(server, copy)).toMatchObject({ toMain: 0, toCopy: 0 });
  for (const site of [server, copy, first, second]) {
    const [{ tags, ...row } = {}] = stands(site, "hits, best, tags");
    expect(row).toEqual({ hits: 137, best: 9 });
    expect((JSON.parse(String(tags)) as string[]).sort()).toEqual(["b", "c", "d"]);
    expect(site.rows("SELECT k, n FROM word ORDER BY k")).toEqual([
      { k: "new", n: 34 },
      { k: "w", n: 91 },
    ]);
  }
  expect(first.replica.state().digest).toEqual(copy.replica.state().digest);
});

test("a reference by configuration follows its row within the scope, and never leads out of it", () => {
  const { server, copy, first } = start("INSERT INTO member VALUES(1, 1, 'ours'), (2, 2, 'theirs')");
  // Both integers are taken at the server by the time these come there.
  first.edit("INSERT INTO member VALUES(2, 1, 'new'); INSERT INTO stand(id, team, by_member, note) VALUES(1, 1, 2, 'of new')");
  server.edit("INSERT INTO stand(id, team, note) VALUES(1, 2, 'theirs')");
  settle(copy, first);
  expect(carry(server, copy).kept).toBe(0);
  settle(copy, first);
  for (const site of [server, first])
    expect(site.rows("SELECT m.name FROM stand AS s JOIN member AS m ON m.id = s.by_member WHERE s.team = 1")).toEqual([{ name: "new" }]);
  first.edit("UPDATE stand SET by_member = 2");
  settle(copy, first);
  expect(carry(server, copy).kept).toBe(1);
  settle(copy, first);
  expect(first.one("SELECT m.name FROM stand AS s JOIN member AS m ON m.id = s.by_member")).toBe("new");
  // One that is gone may go on being named.
  server.edit("DELETE FROM member WHERE name = 'theirs'");
  first.edit("UPDATE stand SET by_member = 2, note = 'of nobody'");
  settle(copy, first);
  expect(carry(server, copy).kept).toBe(0);
  expect(server.one("SELECT note FROM stand WHERE team = 1")).toBe("of nobody");
});

test("triggers whose effects are rows of the scope rest at the server; those that guard it, and what they write beside it, run", () => {
  const schema = `
    CREATE TABLE item(id INTEGER PRIMARY KEY, team INTEGER, label TEXT, seen INTEGER DEFAULT 0);
    CREATE TABLE log(id INTEGER PRIMARY KEY, team INTEGER, text TEXT);
    CREATE TABLE ledger(id INTEGER PRIMARY KEY, text TEXT);
    CREATE TRIGGER logged AFTER INSERT ON item BEGIN INSERT INTO log(team, text) VALUES(NEW.team, 'made ' || NEW.label); END;
    CREATE TRIGGER marked AFTER UPDATE OF label ON item BEGIN UPDATE item SET seen = seen + 1 WHERE id = NEW.id; END;`;
  const server = new Site(
    "server",
    `${schema} CREATE TRIGGER booked AFTER INSERT ON item BEGIN INSERT INTO ledger(text) VALUES(NEW.label); END;
     CREATE TRIGGER guarded BEFORE UPDATE OF label ON item WHEN NEW.label = 'bad' BEGIN SELECT RAISE(ABORT, 'no'); END;
     CREATE TRIGGER passed BEFORE UPDATE OF label ON item WHEN NEW.label = 'odd' BEGIN SELECT RAISE(IGNORE); END;`,
  );
  const rule: ScopeRule = { name: "team-1", tables: [all("item", { where }), all("log", { where })] };
  const copy = copyOf(server, rule);
  const first = new Site("laptop", schema, {});
  carry(server, copy);
  first.edit("INSERT INTO item(id, team, label) VALUES(1, 1, 'one'), (2, 1, 'two')");
  first.edit("UPDATE item SET label = 'uno' WHERE id = 1");
  settle(copy, first);
  expect(carry(server, copy).kept).toBe(0);
  settle(copy, first);
  expect(carry(server, copy)).toMatchObject({ toMain: 0, toCopy: 0, kept: 0 });
  for (const site of [server, first]) {
    expect(site.rows("SELECT label, seen FROM item ORDER BY id")).toEqual([
      { label: "uno", seen: 1 },
      { label: "two", seen: 0 },
    ]);
    expect(site.rows("SELECT text FROM log ORDER BY text")).toEqual([{ text: "made one" }, { text: "made two" }]);
  }
  expect(server.rows("SELECT text FROM ledger ORDER BY text")).toEqual([{ text: "two" }, { text: "uno" }]);
  first.edit("UPDATE item SET label = 'bad' WHERE id = 1; UPDATE item SET label = 'odd' WHERE id = 2");
  settle(copy, first);
  expect(carry(server, copy).kept).toBe(2);
  settle(copy, first);
  expect(first.rows("SELECT label FROM item ORDER BY id")).toEqual([{ label: "uno" }, { label: "two" }]);
  // The application's own writes meet its triggers as before.
  server.edit("INSERT INTO item(team, label) VALUES(1, 'three')");
  expect(server.one("SELECT count(*) FROM log WHERE text = 'made three'")).toBe(1);
  const both =
    "CREATE TRIGGER both AFTER DELETE ON item BEGIN INSERT INTO log(team, text) VALUES(1, 'x'); INSERT INTO ledger(text) VALUES('x'); END";
  server.edit(both);
  expect(refusal(() => carry(server, copy))).toBe("INVALID_ARGUMENT");
});

test("triggers on deleted rows rest and guard there just the same", () => {
  const schema = `
    CREATE TABLE item(id INTEGER PRIMARY KEY, team INTEGER, label TEXT);
    CREATE TABLE log(id INTEGER PRIMARY KEY, team INTEGER, text TEXT);
    CREATE TRIGGER logged AFTER DELETE ON item BEGIN INSERT INTO log(team, text) VALUES(OLD.team, 'gone ' || OLD.label); END;`;
  const guards = `CREATE TRIGGER guarded BEFORE DELETE ON item WHEN OLD.label = 'guarded' BEGIN SELECT RAISE(ABORT, 'no'); END;
    CREATE TRIGGER passed BEFORE DELETE ON item WHEN OLD.label = 'passed' BEGIN SELECT RAISE(IGNORE); END`;
  const server = new Site("server", schema + guards);
  server.edit("INSERT INTO item(team, label) VALUES(1, 'free'), (1, 'guarded'), (1, 'passed')");
  const copy = copyOf(server, { name: "team-1", tables: [all("item", { where }), all("log", { where })] });
  const first = new Site("laptop", schema, {});
  carry(server, copy);
  settle(copy, first);
  first.edit("DELETE FROM item");
  settle(copy, first);
  expect(carry(server, copy)).toMatchObject({ complete: true, kept: 2 });
  settle(copy, first);
  for (const site of [server, first]) {
    expect(site.rows("SELECT label FROM item ORDER BY label")).toEqual([{ label: "guarded" }, { label: "passed" }]);
    // What the node's own triggers wrote of all three.
    expect(site.rows("SELECT text FROM log ORDER BY text")).toEqual([
      { text: "gone free" },
      { text: "gone guarded" },
      { text: "gone passed" },
    ]);
  }
});

test.each([
  ["with the rows of its table", "content='doc', content_rowid='id'"],
  ["without content", "content=''"],
])("an index %s that has fallen behind at the server does not stop a scope, nor what is decided of it", (_, content) => {
  const schema = `CREATE TABLE doc(id INTEGER PRIMARY KEY, team INT, body TEXT UNIQUE); CREATE VIRTUAL TABLE words USING fts5(body, ${content});
    CREATE TRIGGER doc_i AFTER INSERT ON doc BEGIN INSERT INTO words(rowid, body) VALUES(NEW.id, NEW.body); END;
    CREATE TRIGGER doc_d AFTER DELETE ON doc BEGIN INSERT INTO words(words, rowid, body) VALUES('delete', OLD.id, OLD.body); END;
    CREATE TRIGGER doc_u AFTER UPDATE OF body ON doc BEGIN
      INSERT INTO words(words, rowid, body) VALUES('delete', OLD.id, OLD.body); INSERT INTO words(rowid, body) VALUES(NEW.id, NEW.body); END`;
  const server = new Site("server", schema);
  server.edit("INSERT INTO doc(team, body) VALUES(1, 'red robot'), (1, 'green robot'), (1, 'white robot'), (2, 'blue robot')");
  const copy = copyOf(server, { name: "team-1", tables: [all("doc", { where })] });
  const first = new Site("laptop", schema, {});
  carry(server, copy);
  settle(copy, first);
  server.write("INSERT INTO words(words) VALUES('delete-all')");
  first.edit("DELETE FROM doc WHERE body LIKE 'red%'; UPDATE doc SET body = 'violet robot' WHERE body LIKE 'green%'");
  first.edit("UPDATE doc SET body = 'blue robot' WHERE body LIKE 'white%'");
  settle(copy, first);
  expect(carry(server, copy)).toMatchObject({ complete: true, kept: 1 });
  const bodies = () => server.rows("SELECT body FROM doc ORDER BY body").map(({ body }) => body);
  expect(bodies()).toEqual(["blue robot", "violet robot", "white robot"]);
  expect(server.rows("SELECT rowid FROM words WHERE words MATCH 'violet'")).toEqual([{ rowid: 2 }]);
  expect(server.rows("SELECT 1 FROM sqlite_master WHERE type = 'trigger' AND sql LIKE '%''delete''%'")).toHaveLength(2);
  if (content === "content=''") return;
  server.write("INSERT INTO words(words, rank) VALUES('integrity-check', 1); INSERT INTO words(words) VALUES('delete-all')");
  const [kept] = copy.replica.keptOfScope({ id: "", limit: 10 });
  copy.replica.applyKept(kept?.id ?? "", [{ name: "body", value: "black robot" }]);
  expect(bodies()).toEqual(["black robot", "blue robot", "violet robot"]);
  server.write("INSERT INTO words(words, rank) VALUES('integrity-check', 1)");
});

test("triggers that rest meanwhile are as a migration has them which a pass waited for", async () => {
  const schema = `CREATE TABLE doc(id INTEGER PRIMARY KEY, team INT, body TEXT, edits INT);
    CREATE TRIGGER doc_u AFTER UPDATE OF body ON doc BEGIN UPDATE doc SET edits = coalesce(edits, 0) + 1 WHERE id = NEW.id; END`;
  const server = new Site("server", schema);
  server.edit("INSERT INTO doc(team, body) VALUES(1, 'red robot')");
  const copy = copyOf(server, { name: "team-1", tables: [all("doc", { where })] });
  const first = new Site("laptop", schema, {});
  carry(server, copy);
  settle(copy, first);
  first.edit("UPDATE doc SET body = 'typed'");
  settle(copy, first);
  server.replica.drain();
  const migration = new Worker(
    `const { workerData: { library, path, go }, parentPort } = require("node:worker_threads");
    const db = new (require(library))(path);
    db.exec("BEGIN IMMEDIATE; DROP TRIGGER doc_u; CREATE TRIGGER doc_u AFTER UPDATE OF body ON doc BEGIN UPDATE doc SET edits = 7 WHERE id = NEW.id; END");
    parentPort.postMessage("begun");
    Atomics.wait(go, 0, 0, 300);
    db.exec("COMMIT");
    db.close();`,
    {
      eval: true,
      workerData: {
        library: createRequire(import.meta.url).resolve("better-sqlite3"),
        path: server.path,
        go: new Int32Array(new SharedArrayBuffer(4)),
      },
    },
  );
  await once(migration, "message");
  copy.replica.carryScope(true);
  await migration.terminate();
  carry(server, copy);
  expect(server.one("SELECT body FROM doc")).toBe("typed");
  expect(server.one("SELECT sql FROM sqlite_schema WHERE name = 'doc_u'")).toContain("edits = 7");
});

test("a column that is taken out of a scope is emptied at its nodes and stays at the server; what was typed there meanwhile is kept; back in it, it comes whole", () => {
  const { server, copy, first } = start(
    "INSERT INTO stand(id, team, note, price) VALUES(1, 1, 'note one', 71), (2, 1, 'note two', 72), (3, 2, 'theirs', 73)",
  );
  expect(stands(first, "note, price")).toEqual([
    { note: "note one", price: 71 },
    { note: "note two", price: 72 },
  ]);
  const narrow = scope(["team", "hits", "best", "tags", "by_member"]);
  copy.options.scope = { ...copy.options.scope!, rule: narrow };
  copy.restart();
  // While it is away: nothing of this may be gone.
  first.edit(
    "UPDATE stand SET note = 'typed late', hits = 3 WHERE id = 2; INSERT INTO stand(id, team, hits) VALUES(9, 1, 4)",
    first.nowUs + 1_000_000,
  );
  for (let round = 0; round < 3; round++) {
    carry(server, copy);
    settle(copy, first);
  }
  expect(stands(first, "hits, note, price")).toEqual([
    { hits: 0, note: null, price: 0 },
    { hits: 3, note: null, price: 0 },
    { hits: 4, note: null, price: 0 },
  ]);
  expect(server.rows("SELECT hits, note, price FROM stand ORDER BY id")).toEqual([
    { hits: 0, note: "note one", price: 71 },
    { hits: 3, note: "note two", price: 72 },
    { hits: 0, note: "theirs", price: 73 },
    { hits: 4, note: null, price: 5 },
  ]);
  expect(JSON.stringify([first.rows("SELECT * FROM stand"), copy.rows("SELECT * FROM stand")])).not.toMatch(
    /note one|note two|typed late|7[123]/,
  );
  const kept = copy.replica.keptOfScope({ id: "", limit: 0 });
  expect(kept.map(({ reason }) => reason)).toEqual([expect.stringContaining('"note" is not in the scope any more')]);
  expect(kept[0]?.image).toContainEqual({ name: "note", value: "typed late" });
  copy.replica.applyKept(kept[0]!.id, []);
  expect(server.one("SELECT note FROM stand WHERE id = 2")).toBe("typed late");

  copy.options.scope = { ...copy.options.scope, rule: scope() };
  copy.restart();
  carry(server, copy);
  settle(copy, first);
  expect(stands(first, "note, price")).toEqual([
    { note: "note one", price: 71 },
    { note: "typed late", price: 72 },
    { note: null, price: 5 },
  ]);
});

test("a person does what was not taken after all, with other values where it has to be, or takes it off the list", () => {
  const { server, copy, first } = start(
    "INSERT INTO stand(id, team, note) VALUES(1, 1, 'one'), (2, 1, 'two'), (3, 1, 'three'); INSERT INTO member VALUES(1, 2, 'theirs')",
  );
  server.edit(
    "UPDATE stand SET note = 'one, of the server', hits = 7 WHERE id = 1; UPDATE stand SET team = 2 WHERE id = 2; UPDATE stand SET hits = 1 WHERE id = 3",
  );
  first.edit(
    "UPDATE stand SET note = 'one, of the laptop' WHERE id = 1; UPDATE stand SET note = 'late' WHERE id = 2; DELETE FROM stand WHERE id = 3",
  );
  first.edit("INSERT INTO stand(id, team, note) VALUES(40, 2, 'for others'); INSERT INTO word VALUES(2, 'k', 1)");
  settle(copy, first);
  carry(server, copy);
  settle(copy, first);
  const kept = () => copy.replica.keptOfScope({ id: "", limit: 0 });
  const idOf = (found: (text: string) => boolean) =>
    kept().find((one) => found(JSON.stringify(one.image, (_, v: unknown) => (typeof v === "bigint" ? Number(v) : v)) + one.reason))!.id;
  expect(kept().length).toBe(5);
  copy.replica.applyKept(
    idOf((text) => text.includes("one, of the laptop")),
    [],
  );
  copy.replica.applyKept(
    idOf((text) => text.includes("late")),
    [{ name: "note", value: "late, as amended" }],
  );
  copy.replica.applyKept(
    idOf((text) => text.includes("deleted")),
    [],
  );
  const others = idOf((text) => text.includes("for others"));
  server.edit("INSERT INTO stand(id, team, note) VALUES(40, 2, 'in its place')");
  copy.replica.applyKept(others, []);
  expect(refusal(() => copy.replica.applyKept(others, []))).toBe("NOT_FOUND");
  expect(server.rows("SELECT id, team, note, hits FROM stand ORDER BY id")).toEqual([
    { id: 1, team: 1, note: "one, of the laptop", hits: 7 },
    { id: 2, team: 2, note: "late, as amended", hits: 0 },
    { id: 40, team: 2, note: "in its place", hits: 0 },
    { id: 41, team: 2, note: "for others", hits: 0 },
  ]);
  const last = kept();
  expect(last.length).toBe(1);
  server.edit("CREATE TRIGGER no BEFORE INSERT ON word BEGIN SELECT RAISE(ABORT, 'not now'); END");
  expect(refusal(() => copy.replica.applyKept(last[0]!.id, []))).toBe("INVALID_ARGUMENT");
  expect(kept().length).toBe(1);
  copy.replica.dismissKept(last[0]!.id);
  carry(server, copy);
  settle(copy, first);
  expect(first.rows("SELECT note FROM stand")).toEqual([{ note: "one, of the laptop" }]);
});
