import { expect, test } from "vitest";
import { parseCondition, type ScopeRule } from "../src/index.ts";
import { all, carry, copyOf } from "./scope-site.ts";
import { refusal, settle, Site } from "./site.ts";

const SCHEMA = "CREATE TABLE scouting(id INTEGER PRIMARY KEY, team INTEGER NOT NULL, note TEXT);";
const RULE: ScopeRule = { name: "blue", tables: [all("scouting", { where: parseCondition("team = 1") })] };

const laptopOf = (name: string) => new Site(name, SCHEMA, { limited: true });
const notes = (site: Site) => site.rows("SELECT note FROM scouting ORDER BY note").map(({ note }) => note);

/** Two servers with the same rows and the same scopes file. */
function servers() {
  const [first, second] = [new Site("first", SCHEMA), new Site("second", SCHEMA)];
  first.edit("INSERT INTO scouting VALUES(1, 1, 'one'), (2, 1, 'two'), (3, 2, 'hidden')");
  settle(first, second);
  const copies = [copyOf(first, RULE), copyOf(second, RULE)] as const;
  carry(first, copies[0]);
  carry(second, copies[1]);
  return { first, second, copies };
}

test("a laptop that meets the copy of another server with the same scope is refused on both sides, with nothing moved, and goes on with its own", () => {
  const { first, second, copies } = servers();
  const laptop = laptopOf("laptop");
  laptop.pull(copies[0]);
  laptop.edit("INSERT INTO scouting(team, note) VALUES(1, 'typed')");
  // Also after a start: it is the file that knows.
  laptop.restart();
  const [here, there] = [laptop.contents(), copies[1].contents()];
  // What a bundle holds was written without having met anybody.
  const carried = (from: Site) =>
    from.replica.read({ from: new Map(), batchSize: 0, codecs: [], beyondDigest: new Uint8Array(), whole: true });
  const said = [
    refusal(() => laptop.pull(copies[1])),
    refusal(() => copies[1].pull(laptop)),
    refusal(() => laptop.replica.meet(copies[1].replica.baseline())),
    refusal(() => laptop.replica.choiceFor(copies[1].replica.baseline())),
    refusal(() => copies[1].replica.meet(laptop.replica.baseline())),
    refusal(() => laptop.replica.apply(carried(copies[1]))),
    refusal(() => copies[1].replica.apply(carried(laptop))),
  ];
  expect(notes(laptop)).toEqual(["one", "two", "typed"].sort());
  expect(said).toEqual(said.map(() => "SCOPE_OTHER_SERVER"));
  expect(laptop.contents()).toBe(here);
  expect(copies[1].contents()).toBe(there);
  carry(second, copies[1]);
  expect(notes(second)).toEqual(["hidden", "one", "two"]);

  settle(copies[0], laptop);
  carry(first, copies[0]);
  settle(first, second);
  carry(second, copies[1]);
  for (const site of [first, second]) expect(notes(site)).toEqual(["hidden", "one", "two", "typed"].sort());
  // For the other server there is an empty database.
  const fresh = laptopOf("fresh");
  fresh.pull(copies[1]);
  expect(notes(fresh)).toEqual(["one", "two", "typed"].sort());
});

test("what a laptop typed before it met anybody binds it to the copy that it gives it to, and a look alone binds nobody", () => {
  const { first, copies } = servers();
  const laptop = laptopOf("laptop");
  laptop.replica.meet(copies[1].replica.baseline());
  laptop.edit("INSERT INTO scouting(team, note) VALUES(1, 'typed')");
  laptop.replica.meet(copies[0].replica.baseline());
  copies[0].pull(laptop);
  expect(refusal(() => laptop.pull(copies[1]))).toBe("SCOPE_OTHER_SERVER");
  laptop.pull(copies[0]);
  carry(first, copies[0]);
  for (const site of [first, laptop]) expect(notes(site)).toContain("typed");
});

test("a laptop that was filled by another one belongs to the same copy, and what full nodes are to each other stays as it is", () => {
  const { first, second, copies } = servers();
  const [one, other] = [laptopOf("one"), laptopOf("other")];
  one.pull(copies[0]);
  other.pull(one);
  expect(refusal(() => other.pull(copies[1]))).toBe("SCOPE_OTHER_SERVER");
  other.pull(copies[0]);
  expect(notes(other)).toEqual(["one", "two"]);
  // Full nodes that hear laptops of different servers, and take in what they have, go on as ever with each other.
  const third = laptopOf("third");
  third.pull(copies[1]);
  first.pull(one);
  second.pull(third);
  first.edit("INSERT INTO scouting VALUES(9, 2, 'later')");
  settle(first, second);
  expect(notes(second)).toContain("later");
});

test("a copy that is made anew at the same server is another one: its laptops are told, and keep what they have", () => {
  const server = new Site("server", SCHEMA);
  server.edit("INSERT INTO scouting VALUES(1, 1, 'one')");
  const copy = copyOf(server, RULE);
  carry(server, copy);
  const laptop = laptopOf("laptop");
  settle(copy, laptop);
  laptop.edit("INSERT INTO scouting(team, note) VALUES(1, 'typed')");
  const again = copyOf(server, RULE);
  expect(carry(server, again).problem).toContain("put that file back");
  expect(refusal(() => again.pull(laptop))).toBe("SCOPE_OTHER_SERVER");
  expect(refusal(() => laptop.pull(again))).toBe("SCOPE_OTHER_SERVER");
  // The file that was put back is the one it was.
  copy.replaceFile(copy.backup());
  settle(copy, laptop);
  carry(server, copy);
  for (const site of [server, laptop]) expect(notes(site)).toEqual(["one", "typed"]);
});
