import { expect, test } from "vitest";
import { SECOND_US, settle, Site, START_US } from "./site.ts";

const at = (seconds: number) => START_US + seconds * SECOND_US;

/** What sessions do with rows that differ though nobody lacks anything. */
function mend(...sites: Site[]): void {
  for (const a of sites) {
    for (const b of sites) {
      if (a === b) continue;
      const [ours, theirs] = [a, b].map(({ replica }) => replica.wholeRows({ table: "item", keys: ["8", "9"], codecs: [] }));
      a.replica.apply(theirs!);
      b.replica.apply(ours!);
      settle(...sites);
    }
  }
}

const EDIT = "UPDATE item SET n = 5 WHERE id = 8";
const CHILD = "INSERT INTO part VALUES(1, 8)";

test.each(
  ["INTEGER PRIMARY KEY", "TEXT PRIMARY KEY NOT NULL"].flatMap((key) =>
    ["", "NOT NULL"].flatMap((constraint) =>
      [EDIT, CHILD].flatMap((write) =>
        [false, true].flatMap((wasEdited) => [false, true].map((isLate) => ({ key, constraint, write, wasEdited, isLate }))),
      ),
    ),
  ),
)(
  "a row that went past capture is whole again where another node wrote to it: $key, name $constraint, $write, edited before: $wasEdited, a third node knows it as deleted only: $isLate",
  ({ key, constraint, write, wasEdited, isLate }) => {
    const item = `CREATE TABLE item(id ${key}, name TEXT ${constraint}, n INT);`;
    const part = `CREATE TABLE part(id INTEGER PRIMARY KEY, item ${key.split(" ")[0]} REFERENCES item(id));`;
    const [a, b, c] = ["a", "b", "c"].map((name) => new Site(name, item + part)) as [Site, Site, Site];
    const all = [a, b, c];
    a.edit("INSERT INTO item VALUES(8, 'eight', 1), (9, 'nine', 2)", at(0));
    if (wasEdited) a.edit("UPDATE item SET name = 'edited' WHERE id = 8", at(1));
    settle(a, b);
    if (!isLate) settle(...all);
    // A table made anew has no triggers yet.
    a.app.pragma("foreign_keys = OFF");
    const made = item.replace("item", "made");
    a.edit(
      `${made} INSERT INTO made SELECT * FROM item; DROP TABLE item; ALTER TABLE made RENAME TO item; DELETE FROM item WHERE id = 8`,
      at(2),
    );
    if (isLate) c.pull(a);
    b.edit(write, at(3));
    settle(...all);
    mend(...all);
    const eight = { name: wasEdited ? "edited" : "eight", n: write === EDIT ? 5 : 1 };
    for (const site of all) {
      expect(site.rows("SELECT name, n FROM item ORDER BY id"), site.name).toEqual([eight, { name: "nine", n: 2 }]);
      expect(site.replica.state().digest, site.name).toEqual(a.replica.state().digest);
      expect(site.conflicts.filter(({ column }) => column !== null)).toEqual([]);
    }
    b.edit("UPDATE item SET name = 'last', n = 7 WHERE id = 8", at(4));
    settle(...all);
    for (const site of all) {
      expect(site.rows("SELECT name, n FROM item WHERE id = 8"), site.name).toEqual([{ name: "last", n: 7 }]);
      expect(site.replica.state().digest, site.name).toEqual(a.replica.state().digest);
    }
  },
);
