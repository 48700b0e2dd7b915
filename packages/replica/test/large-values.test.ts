import { createHash } from "node:crypto";
import { expect, test } from "vitest";
import { SECOND_US, settle, Site, START_US } from "./site.ts";

// The memory of large values is given back before the collector would come by: nothing may be read from what was given back.

const SIZE = 1_100_000;
const at = (seconds: number) => START_US + seconds * SECOND_US;

/** A value of which each byte is this letter, as the application writes it. */
const KINDS = {
  blob: (letter: string) => `CAST(printf('%.*c', ${SIZE}, '${letter}') AS BLOB)`,
  // Kept as its bytes, with a NUL in it.
  "long text": (letter: string) => `CAST(CAST(printf('%.*c', 4300000, '${letter}') AS BLOB) || x'00c3a9f09fa680' AS TEXT)`,
  // Not UTF-8: SQLite keeps it as it is.
  "text that is not UTF-8": (letter: string) => `CAST(CAST(printf('%.*c', ${SIZE}, '${letter}') AS BLOB) || x'ff' AS TEXT)`,
};

const hashOf = (site: Site): string => {
  const hex = site.one("SELECT hex(CAST(video AS BLOB)) FROM clip") as string;
  return createHash("sha256").update(Buffer.from(hex, "hex")).digest("hex").slice(0, 16);
};

test.each<[schema: string, writers: string, kind: keyof typeof KINDS, kept: string]>([
  ["id INTEGER PRIMARY KEY", "ab", "blob", "a"],
  ["id INTEGER PRIMARY KEY", "ab", "blob", "b"],
  ["id TEXT PRIMARY KEY", "abc", "text that is not UTF-8", "b"],
  ["id INTEGER", "abc", "blob", "a"],
  ["id INTEGER PRIMARY KEY", "ab", "long text", "a"],
  ["id TEXT PRIMARY KEY", "abc", "long text", "b"],
  ["id INTEGER", "abc", "long text", "a"],
])(
  "a row (%s) to which %s wrote a large %s: each is listed, that of %s is kept, and what lost is in the history",
  (id, writers, kind, kept) => {
    const names = writers.split("");
    const [last] = names.slice(-1) as [string];
    const sites = names.map((name) => new Site(name, `CREATE TABLE clip(${id}, name TEXT, video)`));
    const [a] = sites as [Site];
    const video = KINDS[kind];
    a.edit(`INSERT INTO clip VALUES(1, 'final', ${video("0")})`);
    settle(...sites);
    const hashes = new Map<string, string>();
    for (const [i, site] of sites.entries()) {
      site.edit(`UPDATE clip SET video = ${video(site.name)}`, at(i + 1));
      hashes.set(site.name, hashOf(site));
    }
    const hash = (name: string) => hashes.get(name) ?? "";
    settle(...sites);
    // What lost in one column stays as it is where another one is written.
    a.edit("UPDATE clip SET name = 'cut'", at(9));
    settle(...sites);
    for (const site of sites) {
      expect(hashOf(site)).toBe(hash(last));
      // Twice: it is not the list that takes them away.
      for (let times = 0; times < 2; times++) {
        const lost = site.conflicts.map(({ winner, loser }) => {
          expect(winner?.value).toContain(hash(last));
          expect(loser?.value).toContain(hash(loser?.author ?? ""));
          return loser?.author;
        });
        expect(lost.toSorted((x, y) => ((x ?? "") < (y ?? "") ? -1 : 1))).toEqual(names.slice(0, -1));
      }
    }
    const lost = kept === last ? "a" : kept;
    const listed = a.conflicts.find(({ loser }) => loser?.author === lost);
    a.nowUs = at(10);
    const told = a.replica.resolve({ id: listed?.id ?? "", keep: kept === last ? "winner" : "loser", set: [] });
    expect(told.loser?.value).toContain(hash(lost));
    settle(...sites);
    for (const site of sites) {
      expect(hashOf(site)).toBe(hash(kept));
      expect(site.conflicts).toEqual([]);
      if (!id.includes("KEY")) continue;
      const history = site.replica.history("clip", "1").map(({ value }) => value);
      for (const name of names.slice(0, -1))
        expect(
          history.filter((value) => typeof value === "string" && value.includes(hash(name))),
          name,
        ).not.toEqual([]);
    }
  },
);

test.each(["a", "b"])(
  "large rows that %s deletes, one of them in conflict and one inserted twice, are restored whole on the other node",
  (name) => {
    const [a, b] = ["a", "b"].map((site) => new Site(site, "CREATE TABLE clip(id INTEGER PRIMARY KEY, name TEXT, video)")) as [Site, Site];
    const video = KINDS.blob;
    for (const id of [1, 2, 3]) a.edit(`INSERT INTO clip VALUES(${id}, 'cut', ${video(String(id))})`);
    settle(a, b);
    for (const [i, site] of [a, b].entries()) {
      site.edit(`UPDATE clip SET video = ${video(site.name)} WHERE id = 2`, at(i + 1));
      site.edit(`INSERT INTO clip VALUES(4, 'of ${site.name}', ${video(site.name.toUpperCase())})`);
    }
    settle(a, b);
    const all = (site: Site) => site.rows("SELECT id, name, length(video) AS n, hex(substr(video, -2)) AS last FROM clip ORDER BY id");
    const held = all(a);
    expect(held).toHaveLength(5);
    expect(all(b)).toEqual(held);
    const [deletes, restores] = name === "a" ? [a, b] : [b, a];
    deletes.edit("DELETE FROM clip", at(3));
    settle(a, b);
    expect(all(restores)).toEqual([]);
    for (const { id } of held) restores.replica.restore("clip", String(id));
    settle(a, b);
    for (const site of [a, b]) expect(all(site)).toEqual(held);
  },
);
