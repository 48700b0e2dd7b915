import { spawn } from "node:child_process";
import { createHash } from "node:crypto";
import { once } from "node:events";
import { existsSync, mkdirSync, readFileSync, readdirSync, realpathSync, rmSync, writeFileSync } from "node:fs";
import { basename, join } from "node:path";
import { fileURLToPath } from "node:url";
import { boundOf, Fleet, scoutsync, until } from "@scoutsync/testkit";
import { expect, test } from "vitest";

const SAVER = fileURLToPath(new URL("saver.py", import.meta.url));
/** How long applications save, seconds; more by hand. */
const SECONDS = Number(process.env["SCOUTSYNC_SAVING"] ?? 6);

interface Ledger {
  saved: Set<string>;
  /** Destroyed by the application's own rename: never sync's to keep. */
  own: Set<string>;
  last: Map<string, string>;
  torn: string[];
  lines: string[];
}

function readLedger(path: string): Ledger {
  const lines = readFileSync(path, "utf8").split("\n");
  const ledger: Ledger = { saved: new Set(), own: new Set(), last: new Map(), torn: [], lines };
  for (const line of lines) {
    const [word, hash = "", of = ""] = line.split(" ");
    if (word === "saved") ledger.saved.add(hash);
    else if (word === "own") ledger.own.add(hash);
    else if (word === "last") ledger.last.set(basename(of), hash);
    else if (word === "torn") ledger.torn.push(hash);
  }
  return ledger;
}

const hashOf = (path: string) => createHash("sha256").update(readFileSync(path)).digest("hex");

/** Hashes of every file below, in place or in the store. */
function kept(root: string): string[] {
  return readdirSync(root, { recursive: true, withFileTypes: true })
    .filter((one) => one.isFile())
    .map((one) => hashOf(join(one.parentPath, one.name)));
}

test(
  "processes that save by renaming, in a tight loop on three nodes, live and by sessions: nothing that they did not overwrite themselves is lost",
  { timeout: boundOf(360_000) + SECONDS * 20_000 },
  async () => {
    const fleet = new Fleet("savers");
    try {
      const roots = ["a", "b", "c"].map((name) => realpathSync(mkdirSync(fleet.path(name, "uploads"), { recursive: true }) ?? ""));
      const start = (at: number, peers: string[]) =>
        fleet.node({ name: "abc"[at] ?? "", databases: {}, peers, flags: ["--files", `uploads=${roots[at]}`] });
      const a = await start(0, []);
      const b = await start(1, [a.address]);
      // The third has no peers: it gets everything by sessions.
      const c = await start(2, []);
      // One file that three applications save, one of a single application, and several.
      const files = [["all", "one", "two", "three"], ["all", "two", "three"], ["all"]];
      const ledgers = roots.map((_, at) => fleet.path("ledger", String(at)));
      const goOn = ledgers.map((ledger) => `${ledger}.go-on`);
      for (const file of goOn) writeFileSync(file, "");
      let isOver = false;
      const saving = Promise.all(
        files.map(async (names, at) => {
          const paths = names.map((name) => join(roots[at] ?? "", name));
          const saver = spawn("python3", [SAVER, ledgers[at] ?? "", String(SECONDS), "loop", ...paths], {
            stdio: ["ignore", "ignore", "inherit"],
          });
          const [code] = (await once(saver, "exit")) as [number];
          expect(code).toBe(0);
        }),
      ).finally(() => (isOver = true));
      let sessions = 0;
      for (; !isOver; sessions++) {
        await fleet.sync(c, b);
        // On a busy machine they are done before sync has taken a version from under any of them: it would show nothing.
        const taken = ledgers.some((ledger) => existsSync(ledger) && readFileSync(ledger, "utf8").includes("\nleft "));
        if (taken) for (const file of goOn) rmSync(file, { force: true });
      }
      await saving;
      await until(
        async () =>
          (await scoutsync(["verify", a.address, b.address, "--json"])).code === 0 &&
          (await fleet.sync(c, b)).code === 0 &&
          (await scoutsync(["verify", c.address, a.address, "--json"])).code === 0,
        { what: "three equal nodes", withinMs: 120_000, everyMs: 1_000 },
      );
      const told = ledgers.map(readLedger);
      const everywhere = new Set(roots.flatMap(kept));
      const owed = told.flatMap(({ saved, own }) => [...saved].filter((hash) => !own.has(hash)));
      const saves = told.reduce((sum, { saved }) => sum + saved.size, 0);
      console.log(`${saves} saves, ${saves - owed.length} overwritten by their own application, ${sessions} sessions meanwhile`);
      expect(told.flatMap(({ torn }) => torn)).toEqual([]);
      const lost = owed.filter((hash) => !everywhere.has(hash));
      // With what the applications say of it: which name it had last, and how many.
      expect(lost.map((hash) => told.flatMap(({ lines }) => lines.filter((line) => line.includes(hash))))).toEqual([]);
      // Sync did take versions from under the applications, or this has shown nothing.
      expect(owed.length).toBeGreaterThan(told.reduce((sum, { last }) => sum + last.size, 0));
      for (const name of ["all", "one", "two", "three"]) {
        const last = told.flatMap((ledger) => ledger.last.get(name) ?? []);
        for (const root of roots) expect(last).toContain(hashOf(join(root, name)));
      }
    } finally {
      await fleet.stop();
    }
  },
);
