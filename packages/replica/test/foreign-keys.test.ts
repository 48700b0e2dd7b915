import { describe, expect, test } from "vitest";
import { diagnose } from "../src/index.ts";
import { SECOND_US, settle, Site, START_US } from "./site.ts";

const KINDS: [string, string, string, string, string][] = [
  [
    "a natural key",
    "CREATE TABLE team(code TEXT PRIMARY KEY COLLATE NOCASE, name TEXT); CREATE TABLE robot(id INTEGER PRIMARY KEY, team TEXT REFERENCES team ON UPDATE CASCADE ON DELETE CASCADE, name TEXT)",
    "INSERT INTO team VALUES('ab', 'parent')",
    "INSERT INTO robot(team, name) VALUES('AB', 'child')",
    "DELETE FROM team",
  ],
  [
    "a composite key",
    "CREATE TABLE team(year INT, no INT, name TEXT, PRIMARY KEY(year, no)) WITHOUT ROWID; CREATE TABLE robot(id INTEGER PRIMARY KEY, no INT, year INT, name TEXT, FOREIGN KEY(year, no) REFERENCES team ON DELETE CASCADE)",
    "INSERT INTO team VALUES(2024, 7, 'parent'), (2024, 8, 'other')",
    "INSERT INTO robot(year, no, name) VALUES(2024, 7, 'child')",
    "DELETE FROM team WHERE no = 7",
  ],
  [
    "a UNIQUE column that is no key",
    "CREATE TABLE team(id INTEGER PRIMARY KEY, no INT UNIQUE, name TEXT); CREATE TABLE robot(id INTEGER PRIMARY KEY, team INT REFERENCES team(no) ON DELETE CASCADE, name TEXT)",
    "INSERT INTO team(no, name) VALUES(7, 'parent')",
    "INSERT INTO robot(team, name) VALUES(7, 'child')",
    "DELETE FROM team",
  ],
  [
    "a UNIQUE column, from a table without a primary key",
    "CREATE TABLE team(id INTEGER PRIMARY KEY, no INT UNIQUE, name TEXT); CREATE TABLE robot(team INT REFERENCES team(no) ON DELETE CASCADE, name TEXT)",
    "INSERT INTO team(no, name) VALUES(7, 'parent')",
    "INSERT INTO robot(team, name) VALUES(7, 'child')",
    "DELETE FROM team",
  ],
  [
    "the table itself",
    "CREATE TABLE team(code TEXT PRIMARY KEY, above TEXT REFERENCES team ON DELETE CASCADE, name TEXT); CREATE VIEW robot AS SELECT name FROM team WHERE above IS NOT NULL",
    "INSERT INTO team VALUES('top', NULL, 'parent')",
    "INSERT INTO team VALUES('below', 'top', 'child')",
    "DELETE FROM team WHERE code = 'top'",
  ],
  [
    "a key that is made of a reference",
    "CREATE TABLE event(id INTEGER PRIMARY KEY); CREATE TABLE team(event INT REFERENCES event, no INT, name TEXT, PRIMARY KEY(event, no)); CREATE TABLE robot(id INTEGER PRIMARY KEY, event INT, no INT, name TEXT, FOREIGN KEY(event, no) REFERENCES team ON DELETE CASCADE)",
    "INSERT INTO event VALUES(1); INSERT INTO team VALUES(1, 7, 'parent')",
    "INSERT INTO robot(event, no, name) VALUES(1, 7, 'child')",
    "DELETE FROM team",
  ],
];

const names = (site: Site, table: string) => site.rows(`SELECT name FROM ${table} ORDER BY 1`).map(({ name }) => name);

describe.each(KINDS)("a row that is referred to by %s", (_, schema, parent, child, remove) => {
  const start = (count: number): Site[] => {
    const sites = Array.from({ length: count }, (__, i) => new Site(`s${i}`, schema));
    for (const site of sites) site.app.pragma("foreign_keys = ON");
    sites[0]?.edit(parent);
    settle(...sites);
    return sites;
  };

  const expectKept = (sites: Site[]) => {
    for (const site of sites) {
      expect(names(site, "team")).toContain("parent");
      expect(names(site, "robot")).toEqual(["child"]);
      expect(site.app.pragma("foreign_key_check")).toEqual([]);
    }
  };

  test.each(["delete first", "child first", "both at once"])(
    "stays where it was deleted by one who did not know of the child: %s",
    (order) => {
      const sites = start(3);
      const [a, b, c] = sites as [Site, Site, Site];
      a.edit(remove);
      b.edit(child, b.nowUs + 5_000_000);
      if (order === "delete first") c.pull(a);
      if (order === "child first") c.pull(b);
      if (order === "both at once") a.pull(b);
      c.pull(order === "both at once" ? a : order === "delete first" ? b : a);
      settle(...sites);
      expectKept(sites);
      expect(a.pull(b).at(-1)?.verified).toBe(true);

      const fresh = new Site("fresh", schema);
      settle(fresh, c);
      expectKept([fresh]);

      // Whoever knows of both may delete it again, with the child.
      c.app.pragma("foreign_keys = ON");
      c.edit(remove);
      settle(...sites, fresh);
      for (const site of [...sites, fresh]) {
        expect(names(site, "team")).not.toContain("parent");
        expect(names(site, "robot")).toEqual([]);
      }
    },
  );

  test("goes after all when the child goes, and lives when somebody refers to it again", () => {
    const sites = start(2);
    const [a, b] = sites as [Site, Site];
    a.edit(remove);
    b.edit(child, b.nowUs + 5_000_000);
    settle(...sites);
    b.edit("DELETE FROM " + (schema.includes("VIEW robot") ? "team WHERE name = 'child'" : "robot"));
    settle(...sites);
    for (const site of sites) expect(names(site, "team")).not.toContain("parent");

    a.edit((parent.split("; ").at(-1) ?? "").replace("INSERT", "INSERT OR IGNORE"));
    settle(...sites);
    a.edit(remove);
    b.edit(child, b.nowUs + 5_000_000);
    settle(...sites);
    a.edit(child.replace("'child'", "'again'").replace("'below'", "'below too'"));
    b.edit("DELETE FROM " + (schema.includes("VIEW robot") ? "team WHERE name = 'child'" : "robot WHERE name = 'child'"));
    settle(...sites);
    for (const site of sites) {
      expect(names(site, "team")).toContain("parent");
      expect(names(site, "robot")).toEqual(["again"]);
      expect(site.app.pragma("foreign_key_check")).toEqual([]);
    }
  });
});

test("a natural key that is changed with its children leaves the old row to a child that came meanwhile", () => {
  const schema =
    "CREATE TABLE team(code TEXT PRIMARY KEY, name TEXT); CREATE TABLE robot(id INTEGER PRIMARY KEY, team TEXT REFERENCES team ON UPDATE CASCADE, name TEXT)";
  const sites = ["a", "b", "c"].map((name) => new Site(name, schema));
  for (const site of sites) site.app.pragma("foreign_keys = ON");
  const [a, b] = sites as [Site, Site, Site];
  a.edit("INSERT INTO team VALUES('old', 'parent'); INSERT INTO robot(team, name) VALUES('old', 'first')");
  settle(...sites);
  a.edit("UPDATE team SET code = 'new'");
  b.edit("INSERT INTO robot(team, name) VALUES('old', 'second')");
  settle(...sites);
  for (const site of sites) {
    expect(site.rows("SELECT robot.name, team FROM robot ORDER BY 1")).toEqual([
      { name: "first", team: "new" },
      { name: "second", team: "old" },
    ]);
    expect(site.app.pragma("foreign_key_check")).toEqual([]);
  }
});

test.each([
  ["change first", ["a"]],
  ["child first", ["a"]],
  ["change first", ["a", "b", "c"]],
  ["child first", ["a", "c"]],
])("a child follows a UNIQUE value that is changed while it refers to the old one: %s, of rows added by %j", (order, authors) => {
  const schema = `CREATE TABLE team(id INTEGER PRIMARY KEY, no INT UNIQUE, name TEXT);
    CREATE TABLE robot(id INTEGER PRIMARY KEY, team INT REFERENCES team(no) ON UPDATE CASCADE, name TEXT);
    CREATE TABLE visit(team INT REFERENCES team(no) ON UPDATE CASCADE, name TEXT)`;
  const sites = ["a", "b", "c"].map((name) => new Site(name, schema));
  for (const site of sites) site.app.pragma("foreign_keys = ON");
  const [a, b, c] = sites as [Site, Site, Site];
  for (const [i, site] of sites.entries())
    if (authors.includes(site.name)) site.edit("INSERT INTO team(no, name) VALUES(7, 'seven'), (8, 'eight')", START_US + i * SECOND_US);
  a.edit("INSERT INTO robot(team, name) VALUES(7, 'first')");
  settle(...sites);
  a.edit("UPDATE team SET no = 70 WHERE no = 7", START_US + 3 * SECOND_US);
  b.edit("INSERT INTO robot(team, name) VALUES(7, 'second'), (8, 'other'); INSERT INTO visit VALUES(7, 'third')", b.nowUs + 5_000_000);
  if (order === "change first") c.pull(a);
  else c.pull(b);
  settle(...sites);
  for (const site of sites) {
    expect(site.rows("SELECT name, team FROM robot UNION ALL SELECT name, team FROM visit ORDER BY 1")).toEqual([
      { name: "first", team: 70 },
      { name: "other", team: 8 },
      { name: "second", team: 70 },
      { name: "third", team: 70 },
    ]);
    expect(site.app.pragma("foreign_key_check")).toEqual([]);
    expect(site.conflicts).toEqual([]);
  }
});

test("a child follows the UNIQUE value that the other of two rows has which are one by another", () => {
  const schema = `CREATE TABLE team(id INTEGER PRIMARY KEY, no INT UNIQUE, code TEXT UNIQUE);
    CREATE TABLE robot(id INTEGER PRIMARY KEY, team TEXT REFERENCES team(code), name TEXT); CREATE TABLE visit(team TEXT REFERENCES team(code), name TEXT)`;
  const sites = ["a", "b", "c"].map((name) => new Site(name, schema));
  for (const [i, site] of sites.entries())
    site.edit(
      `INSERT INTO team(no, code) VALUES(7, 'x${i}'); INSERT INTO robot(team, name) VALUES('x${i}', 'r${i}'); INSERT INTO visit VALUES('x${i}', 'v${i}')`,
      START_US + i * SECOND_US,
    );
  settle(...sites);
  for (const site of sites) {
    expect(site.rows("SELECT no, code FROM team")).toEqual([{ no: 7, code: "x2" }]);
    expect(site.rows("SELECT name, team FROM robot UNION ALL SELECT name, team FROM visit ORDER BY 1")).toEqual(
      ["r0", "r1", "r2", "v0", "v1", "v2"].map((name) => ({ name, team: "x2" })),
    );
  }
});

test("a row whose key names one row twice follows it in both places", () => {
  const schema = `CREATE TABLE person(id INTEGER PRIMARY KEY, name TEXT);
    CREATE TABLE trusts(who INTEGER NOT NULL REFERENCES person(id), whom INTEGER NOT NULL REFERENCES person(id), x TEXT, PRIMARY KEY(who, whom))`;
  const [a, b] = [new Site("a", schema), new Site("b", schema)];
  b.edit("INSERT INTO person VALUES(1, 'ben'); INSERT INTO trusts VALUES(1, 1, 'of ben')");
  a.edit("INSERT INTO person VALUES(1, 'ann'); INSERT INTO trusts VALUES(1, 1, 'of ann')", START_US + SECOND_US);
  settle(a, b);
  for (const site of [a, b]) {
    expect(
      site.rows("SELECT x, p.name AS who, q.name AS whom FROM trusts JOIN person p ON p.id = who JOIN person q ON q.id = whom ORDER BY x"),
    ).toEqual([
      { x: "of ann", who: "ann", whom: "ann" },
      { x: "of ben", who: "ben", whom: "ben" },
    ]);
    const { entries } = site.replica.digests({ table: "", buckets: [], deep: true });
    expect(entries).toEqual(site.replica.digests({ table: "", buckets: [], deep: false }).entries);
  }
});

test.each([0, 1])(
  "a row that names a parked row in its key, written where nothing is enforced, has its values everywhere: by site %i",
  (writer) => {
    const schema = `CREATE TABLE shelf(id INTEGER PRIMARY KEY, name TEXT UNIQUE);
    CREATE TABLE part(shelf INTEGER NOT NULL REFERENCES shelf(id), slot TEXT NOT NULL, x TEXT, PRIMARY KEY(shelf, slot))`;
    const sites = ["a", "b"].map((name) => new Site(name, schema, { park: ["shelf"] })) as [Site, Site];
    const [a, b] = sites;
    a.edit("INSERT INTO shelf VALUES(7, 'top')");
    b.edit("INSERT INTO shelf VALUES(9, 'top')", START_US + SECOND_US);
    settle(a, b);
    const site = sites[writer] as Site;
    site.app.pragma("foreign_keys = OFF");
    site.edit("INSERT INTO part VALUES(9, 's', 'written')", START_US + 2 * SECOND_US);
    settle(a, b);
    a.edit("UPDATE shelf SET name = 'moved' WHERE id = 7", START_US + 3 * SECOND_US);
    settle(a, b);
    for (const one of sites) {
      expect(one.rows("SELECT name, slot, x FROM part JOIN shelf ON id = shelf")).toEqual([{ name: "top", slot: "s", x: "written" }]);
      expect(one.replica.state().digest).toEqual(a.replica.state().digest);
      expect(one.replica.state().parked).toBe(0);
    }
  },
);

const OLD = "CREATE TABLE team(id INTEGER PRIMARY KEY, name TEXT NOT NULL)";
const NOTE = "CREATE TABLE note(id INTEGER PRIMARY KEY, team_id INTEGER REFERENCES team(id), line TEXT)";
const PLAIN_NOTE = NOTE.replace(" REFERENCES team(id)", "");

/** The migration that gives notes another shape, as migration tools write it. */
const rebuilt = (note: string): string =>
  `BEGIN; ${note.replace("note", "t_new")}; INSERT INTO t_new SELECT * FROM note; DROP TABLE note; ALTER TABLE t_new RENAME TO note; COMMIT`;

describe("a foreign key that not all nodes have", () => {
  const sites = (schema: string): [Site, Site, Site] =>
    ["a", "b", "c"].map((name) => new Site(name, schema, { park: ["team"] })) as [Site, Site, Site];
  const NOTES = "SELECT note.id, name, line FROM note LEFT JOIN team ON team.id = team_id ORDER BY note.id";

  test.each([
    ["taken away", NOTE, PLAIN_NOTE],
    ["added", PLAIN_NOTE, NOTE],
  ])("and that is %s node by node: rows written meanwhile are in their table everywhere", (_, before, after) => {
    const [a, b, c] = sites(`${OLD}; ${before}`);
    const at = () => Math.max(a.nowUs, b.nowUs, c.nowUs) + 1_000_000;
    a.edit("INSERT INTO team VALUES(1, 'one'); INSERT INTO note VALUES(1, 1, 'before'), (2, 1, 'moved')");
    settle(a, b, c);
    b.edit(rebuilt(after), at());
    a.edit("INSERT INTO team VALUES(2, 'two'); INSERT INTO note VALUES(3, 2, 'of a'); UPDATE note SET team_id = 2 WHERE id = 2", at());
    b.edit("INSERT INTO team VALUES(5, 'five'); INSERT INTO note VALUES(5, 5, 'of b'), (6, 1, 'of b, too')", at());
    const notes = [
      { id: 1, name: "one", line: "before" },
      { id: 2, name: "two", line: "moved" },
      { id: 3, name: "two", line: "of a" },
      { id: 5, name: "five", line: "of b" },
      { id: 6, name: "one", line: "of b, too" },
    ];
    settle(a, b, c);
    for (const site of [a, b, c]) expect(site.rows(NOTES), site.name).toEqual(notes);
    for (const site of [c, a]) site.edit(rebuilt(after), at());
    settle(a, b, c);
    for (const site of [a, b, c]) {
      expect(site.rows(NOTES), site.name).toEqual(notes);
      expect(site.replica.state().parked).toBe(0);
      expect(site.conflicts).toEqual([]);
    }
    expect(b.pull(a).at(-1)?.verified).toBe(true);
    expect(c.pull(b).at(-1)?.verified).toBe(true);
  });

  test("and that is added after a row was written which refers to one that others delete: a comparison has all keep that one", () => {
    const [a, b, c] = sites(`${OLD}; ${PLAIN_NOTE}`);
    const at = () => Math.max(a.nowUs, b.nowUs, c.nowUs) + 1_000_000;
    a.edit("INSERT INTO team VALUES(2, 'two')");
    settle(a, b, c);
    b.edit(rebuilt(NOTE), at());
    a.edit("INSERT INTO note VALUES(1, 2, 'of a')", at());
    b.edit("DELETE FROM team", at());
    // It has the bare integer, under a foreign key and with nobody there.
    b.pull(a);
    for (const site of [a, c]) site.edit(rebuilt(NOTE), at());
    settle(a, b, c);
    const wrong = [a, b, c].flatMap((to) =>
      [a, b, c].flatMap((from) => (to !== from && to.pull(from).at(-1)?.verified === false ? [[to, from] as const] : [])),
    );
    for (const [to, from] of wrong) to.replica.apply(from.replica.wholeRows({ table: "team", keys: ["2"], codecs: [] }));
    settle(a, b, c);
    for (const site of [a, b, c]) {
      expect(site.rows(NOTES), site.name).toEqual([{ id: 1, name: "two", line: "of a" }]);
      // That it stays is for a person to look at, and nothing else.
      expect(site.conflicts.map(({ table }) => table)).toEqual(["team"]);
    }
    expect(b.pull(a).at(-1)?.verified).toBe(true);
    expect(c.pull(b).at(-1)?.verified).toBe(true);
  });

  test("and names the row itself: it is in its table", () => {
    const NODE = "CREATE TABLE node(id INTEGER PRIMARY KEY, root INTEGER REFERENCES node(id))";
    const [a, b] = [new Site("a", NODE), new Site("b", NODE.replace(" REFERENCES node(id)", ""))];
    a.edit("INSERT INTO node VALUES(1, 1), (2, 1)");
    b.pull(a);
    expect(b.rows("SELECT * FROM node")).toEqual(a.rows("SELECT * FROM node"));
    expect(b.replica.state().parked).toBe(0);
  });

  test("goes through one that has it not: the row named has another integer beyond", () => {
    const [a, b, c] = sites(`${OLD}; ${NOTE}`);
    b.edit(rebuilt(PLAIN_NOTE));
    c.edit("INSERT INTO team VALUES(1, 'of c')", c.nowUs + 1_000_000);
    a.edit("INSERT INTO team VALUES(1, 'of a'); INSERT INTO note VALUES(1, 1, 'of a')", a.nowUs + 2_000_000);
    b.pull(a);
    c.pull(b);
    expect(c.rows(NOTES)).toEqual([{ id: 1, name: "of a", line: "of a" }]);
  });

  test("waits where it is not for the row that is named, until that is there", () => {
    const [a, b] = sites(`${OLD}; CREATE UNIQUE INDEX called ON team(name); ${NOTE}`);
    b.edit(rebuilt(PLAIN_NOTE));
    b.edit("INSERT INTO team VALUES(1, 'same')", b.nowUs + 1_000_000);
    a.edit("INSERT INTO team VALUES(2, 'same'); INSERT INTO note VALUES(1, 2, 'of a')", b.nowUs + 1_000_000);
    b.pull(a);
    expect(b.rows("SELECT * FROM note")).toEqual([]);
    expect(b.replica.reviews({ kind: "parked", id: "", limit: 9 }).map(({ reason }) => reason)).toContainEqual(
      expect.stringContaining('"team_id" refers to a row'),
    );
    b.edit("UPDATE team SET name = 'other'", a.nowUs + 1_000_000);
    expect(b.rows(NOTES)).toEqual([{ id: 1, name: "same", line: "of a" }]);
    expect(b.replica.state().parked).toBe(0);
  });

  test.each([
    ["of a row that nobody has deleted", "of a"],
    ["of one that was deleted apart from an edit", "edited"],
  ])("whom the author meant is what a comparison leaves where the row named got another integer meanwhile: %s", (_, line) => {
    const [a, b, c] = sites(`${OLD}; ${NOTE}`);
    b.edit(rebuilt(PLAIN_NOTE));
    c.edit("INSERT INTO team VALUES(1, 'of c')", c.nowUs + 1_000_000);
    a.edit("INSERT INTO team VALUES(1, 'of a'); INSERT INTO note VALUES(1, 1, 'of a')", a.nowUs + 2_000_000);
    b.pull(a);
    if (line === "edited") {
      b.edit("DELETE FROM note", a.nowUs + 1_000_000);
      a.edit("UPDATE note SET line = 'edited'", b.nowUs + 1_000_000);
      b.pull(a);
      a.pull(b);
    }
    settle(a, c);
    b.pull(a);
    // Nobody follows there, as without sync; the row says it to others as it is shown.
    expect(b.rows(NOTES)).toEqual([{ id: 1, name: "of c", line }]);
    for (const site of [a, c]) site.edit(rebuilt(PLAIN_NOTE), a.nowUs + 3_000_000);
    settle(a, b, c);
    expect(b.pull(a).at(-1)?.verified).toBe(false);
    for (const [to, from] of [
      [a, b],
      [b, a],
      [c, b],
    ] as const) {
      to.replica.apply(from.replica.wholeRows({ table: "note", keys: ["1"], codecs: [] }));
      settle(a, b, c);
    }
    for (const site of [a, b, c]) expect(site.rows(NOTES), site.name).toEqual([{ id: 1, name: "of a", line }]);
    expect(b.pull(a).at(-1)?.verified).toBe(true);
  });

  test("and is declared after the row named got another integer: a comparison has the row show whom it names", () => {
    const [a, b, c] = sites(`${OLD}; ${NOTE}`);
    b.edit(rebuilt(PLAIN_NOTE));
    c.edit("INSERT INTO team VALUES(1, 'of c')", c.nowUs + 1_000_000);
    a.edit("INSERT INTO team VALUES(1, 'of a'); INSERT INTO note VALUES(1, 1, 'of a')", a.nowUs + 2_000_000);
    b.pull(a);
    settle(a, c);
    b.pull(a);
    b.edit(rebuilt(NOTE), a.nowUs + 3_000_000);
    settle(a, b, c);
    if (b.pull(a).at(-1)?.verified === false) b.replica.apply(a.replica.wholeRows({ table: "note", keys: ["1"], codecs: [] }));
    settle(a, b, c);
    for (const site of [a, b, c]) expect(site.rows(NOTES), site.name).toEqual([{ id: 1, name: "of a", line: "of a" }]);
    expect(b.pull(a).at(-1)?.verified).toBe(true);
  });

  const PICK = "CREATE TABLE pick(team_id INTEGER REFERENCES team(id), k TEXT, line TEXT, PRIMARY KEY(team_id, k))";
  const PLAIN_PICK = PICK.replace(" REFERENCES team(id)", "");
  const repicked = (pick: string): string => rebuilt(pick.replace("pick", "note")).replaceAll("note", "pick");
  const PICKS = "SELECT team_id, name, k, line FROM pick LEFT JOIN team ON team.id = team_id ORDER BY k";

  test.each([
    ["taken away", PICK, PLAIN_PICK],
    ["added", PLAIN_PICK, PICK],
  ])(
    "and is part of a key, %s node by node: rows written meanwhile are in their table everywhere, and the same ones",
    (_, before, after) => {
      const [a, b, c] = sites(`${OLD}; ${before}`);
      const at = () => Math.max(a.nowUs, b.nowUs, c.nowUs) + 1_000_000;
      a.edit("INSERT INTO team VALUES(1, 'one')");
      settle(a, b, c);
      b.edit(repicked(after), at());
      a.edit("INSERT INTO pick VALUES(1, 'a', 'of a'), (1, 'gone', 'of a')", at());
      b.edit("INSERT INTO pick VALUES(1, 'b', 'of b')", at());
      settle(a, b, c);
      a.edit("UPDATE pick SET line = 'of a, too' WHERE k = 'b'", at());
      b.edit("UPDATE pick SET line = 'of b, too' WHERE k = 'a'; DELETE FROM pick WHERE k = 'gone'", at());
      settle(a, b, c);
      const picks = [
        { team_id: 1, name: "one", k: "a", line: "of b, too" },
        { team_id: 1, name: "one", k: "b", line: "of a, too" },
      ];
      for (const site of [a, b, c]) expect(site.rows(PICKS), site.name).toEqual(picks);
      for (const site of [c, a]) site.edit(repicked(after), at());
      settle(a, b, c);
      for (const site of [a, b, c]) {
        expect(site.rows(PICKS), site.name).toEqual(picks);
        expect(site.replica.reviews({ kind: "", id: "", limit: 9 })).toEqual([]);
      }
      expect(b.pull(a).at(-1)?.verified).toBe(true);
      expect(c.pull(b).at(-1)?.verified).toBe(true);
    },
  );

  test("and is part of a key: what a comparison leaves is found where the row named got another integer meanwhile", () => {
    const [a, b, c] = sites(`${OLD}; ${PICK}`);
    b.edit(repicked(PLAIN_PICK));
    c.edit("INSERT INTO team VALUES(1, 'of c')", c.nowUs + 1_000_000);
    a.edit("INSERT INTO team VALUES(1, 'of a'); INSERT INTO pick VALUES(1, 'k', 'of a')", a.nowUs + 2_000_000);
    b.pull(a);
    settle(a, c);
    b.pull(a);
    expect(b.rows(PICKS)).toEqual([{ team_id: 1, name: "of c", k: "k", line: "of a" }]);
    for (const site of [a, c]) site.edit(repicked(PLAIN_PICK), a.nowUs + 3_000_000);
    settle(a, b, c);
    // Its author says again whom it meant, or the other one takes that: a hash decides which.
    a.replica.apply(b.replica.wholeRows({ table: "pick", keys: ["1,k"], codecs: [] }));
    settle(a, b, c);
    b.replica.apply(a.replica.wholeRows({ table: "pick", keys: [`${String(a.one("SELECT team_id FROM pick"))},k`], codecs: [] }));
    b.edit("UPDATE pick SET line = 'of b'", b.nowUs + 4_000_000);
    settle(a, b, c);
    for (const site of [a, b, c]) expect(site.rows(PICKS), site.name).toMatchObject([{ name: "of a", line: "of b" }]);
    expect(b.pull(a).at(-1)?.verified).toBe(true);
  });

  const PERSON = "CREATE TABLE person(id INTEGER PRIMARY KEY, team INTEGER REFERENCES team(id), n TEXT)";
  const TEAM = "CREATE TABLE team(id INTEGER PRIMARY KEY, captain INTEGER REFERENCES person(id), n TEXT CHECK(n <> 'bad'))";
  const plain = (sql: string) => sql.replace(/ REFERENCES \w+\(id\)/, "");
  const CIRCLE = "INSERT INTO person VALUES(1, 1, 'ann'); INSERT INTO team VALUES(1, 1, 'reds')";
  const PAIRS = "SELECT person.n, team.n AS t FROM person JOIN team ON team.id = person.team AND team.captain = person.id";

  test.each([
    ["by both", `${plain(PERSON)}; ${plain(TEAM)}`],
    ["by one of them", `${PERSON}; ${plain(TEAM)}`],
  ])("and rows name each other %s: they are in their tables, though nobody declares it", (_, schema) => {
    const [a, b, c] = [new Site("a", `${PERSON}; ${TEAM}`), new Site("b", schema), new Site("c", `${PERSON}; ${TEAM}`)] as const;
    for (const { app } of [a, b, c]) app.pragma("foreign_keys = OFF");
    // Both get other integers on the way.
    c.edit("INSERT INTO person VALUES(1, NULL, 'cid'); INSERT INTO team VALUES(1, NULL, 'blues')", a.nowUs - 1_000_000);
    a.edit(CIRCLE);
    b.pull(a);
    expect(b.rows(PAIRS)).toEqual([{ n: "ann", t: "reds" }]);
    settle(a, b, c);
    for (const site of [a, c]) expect(site.rows(PAIRS), site.name).toEqual([{ n: "ann", t: "reds" }]);
    for (const site of [a, b, c]) expect(site.replica.state().parked, site.name).toBe(0);
  });

  test("and rows name each other, of which a constraint refuses one: both wait", () => {
    const a = new Site("a", `${PERSON}; ${TEAM.replace(" CHECK(n <> 'bad')", "")}`);
    const b = new Site("b", `${plain(PERSON)}; ${plain(TEAM)}`);
    for (const { app } of [a, b]) app.pragma("foreign_keys = OFF");
    a.edit(CIRCLE.replace("reds", "bad"));
    b.pull(a);
    expect([b.rows("SELECT * FROM person"), b.rows("SELECT * FROM team"), b.replica.state().parked]).toEqual([[], [], 2]);
    a.edit("UPDATE team SET n = 'good'", a.nowUs + 1_000_000);
    b.pull(a);
    expect(b.rows(PAIRS)).toEqual([{ n: "ann", t: "good" }]);
    expect(b.replica.state().parked).toBe(0);
  });

  test("and goes with the table that it referred to: rows that others wrote meanwhile show the integers they had", () => {
    const [a, b] = sites(`${OLD}; ${NOTE}`);
    a.edit("INSERT INTO team VALUES(1, 'one')");
    b.pull(a);
    b.edit(`${rebuilt(PLAIN_NOTE)}; DROP TABLE team`, a.nowUs + 1_000_000);
    // Of the teams one was there before, and one came since.
    a.edit("INSERT INTO team VALUES(2, 'two'); INSERT INTO note VALUES(1, 1, 'of one'), (2, 2, 'of two')", b.nowUs + 1_000_000);
    b.pull(a);
    expect(b.rows("SELECT * FROM note ORDER BY id")).toEqual(a.rows("SELECT * FROM note ORDER BY id"));
    expect(b.replica.state().parked).toBe(0);
  });

  test("and the row that is named was deleted: who refers to it keeps its integer", () => {
    const [a, b] = sites(`${OLD}; ${NOTE}`);
    a.app.pragma("foreign_keys = OFF");
    b.edit(rebuilt(PLAIN_NOTE));
    a.edit("INSERT INTO team VALUES(2, 'two'); INSERT INTO note VALUES(1, 2, 'of a')", b.nowUs + 1_000_000);
    a.edit("DELETE FROM team", a.nowUs + 1_000_000);
    b.pull(a);
    expect(b.rows("SELECT * FROM note")).toEqual([{ id: 1, team_id: 2, line: "of a" }]);
  });

  test("and the row that is named is one with another: who refers to it shows that one's integer", () => {
    const [a, b] = ["a", "b"].map((name) => new Site(name, `${OLD}; CREATE UNIQUE INDEX called ON team(name); ${NOTE}`)) as [Site, Site];
    b.edit(rebuilt(PLAIN_NOTE));
    b.edit("INSERT INTO team VALUES(1, 'same')", b.nowUs + 1_000_000);
    a.edit("INSERT INTO team VALUES(2, 'same'); INSERT INTO note VALUES(1, 2, 'of a')", b.nowUs + 1_000_000);
    b.pull(a);
    expect(b.rows(NOTES)).toEqual([{ id: 1, name: "same", line: "of a" }]);
  });
});

test("rows that come to refer to nothing, column by column or by their own key, are found by doctor on every node", () => {
  const schema = `
    CREATE TABLE place(room TEXT, seat INTEGER, PRIMARY KEY(room, seat));
    CREATE TABLE guest(id INTEGER PRIMARY KEY, room TEXT, seat INTEGER, FOREIGN KEY(room, seat) REFERENCES place);
    CREATE TABLE club(id INTEGER PRIMARY KEY, code TEXT UNIQUE);
    CREATE TABLE member(club TEXT REFERENCES club(code), name TEXT, PRIMARY KEY(club, name)) WITHOUT ROWID`;
  const [a, b] = [new Site("a", schema), new Site("b", schema)];
  a.edit("INSERT INTO place VALUES('x', 1), ('x', 2), ('y', 1); INSERT INTO guest VALUES(7, 'x', 1); INSERT INTO club VALUES(1, 'old')");
  settle(a, b);
  expect(diagnose(a.path, []).problems).toEqual([]);
  a.edit("UPDATE guest SET seat = 2; UPDATE club SET code = 'new'");
  b.edit("UPDATE guest SET room = 'y'; INSERT INTO member VALUES('old', 'Ann')");
  settle(a, b);
  for (const site of [a, b]) {
    expect(site.rows("SELECT * FROM guest")).toEqual([{ id: 7, room: "y", seat: 2 }]);
    expect(site.rows("SELECT * FROM member")).toEqual([{ club: "old", name: "Ann" }]);
    const { status, problems } = diagnose(site.path, []);
    expect(status).toBe("attached");
    expect(problems.map(({ severity, message }) => [severity, message])).toEqual([
      ["warning", 'table "guest" has a row that refers by room, seat to a row of "place" that is not there'],
      ["warning", 'table "member" has a row that refers by club to a row of "club" that is not there'],
    ]);
  }
  a.edit("INSERT INTO place VALUES('y', 2); UPDATE club SET code = 'old'");
  settle(a, b);
  for (const site of [a, b]) expect(diagnose(site.path, []).problems).toEqual([]);
});
