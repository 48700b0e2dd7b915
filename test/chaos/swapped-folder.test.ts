import { execFileSync, spawn, spawnSync } from "node:child_process";
import { once } from "node:events";
import { lstatSync, mkdirSync, readFileSync, readdirSync, rmSync, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { pause } from "@scoutsync/runtime";
import { boundOf, Fleet, scoutsync, until } from "@scoutsync/testkit";
import { expect, test } from "vitest";

const SWAPPER = fileURLToPath(new URL("swapper.py", import.meta.url));
/** How long the folder is swapped, seconds; more by hand. */
const SECONDS = Number(process.env["SCOUTSYNC_SWAPPING"] ?? 5);
const NAMES = Array.from({ length: 20 }, (_, at) => `f${at}`);

/** Everything that can be seen of what is in a folder, and of the folder. */
function stateOf(folder: string): string[] {
  return ["", ...readdirSync(folder, { recursive: true, encoding: "utf8" })].sort().map((path) => {
    const { mode, mtimeMs, ctimeMs, ino, nlink, size } = lstatSync(join(folder, path));
    return [path, mode, mtimeMs, ctimeMs, ino, nlink, size].join(" ");
  });
}

/** The folder goes with what the swapper does to the other one, at any moment: then it is made again. */
function write(path: string, text: string): void {
  for (;;) {
    try {
      mkdirSync(dirname(path), { recursive: true });
      return writeFileSync(path, text);
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== "ENOENT") throw error;
    }
  }
}

test(
  "a process that swaps a folder for a link in a tight loop while files come and go in it: nothing outside the root is touched or read",
  { timeout: boundOf(360_000) + SECONDS * 20_000 },
  async () => {
    const fleet = new Fleet("swapped");
    try {
      const [here, there] = ["a", "b"].map((name) => fleet.path(name, "uploads")) as [string, string];
      for (const root of [here, there]) mkdirSync(join(root, "d"), { recursive: true });
      const canary = fleet.path("canary", "d");
      mkdirSync(join(canary, "sub"), { recursive: true });
      // Under the very names that come and go.
      for (const name of [...NAMES, "sub/deep"]) writeFileSync(join(canary, name), `secret of ${name}`);
      const before = stateOf(canary);
      const a = await fleet.node({ name: "a", databases: {}, flags: ["--files", `uploads=${here}`] });
      const b = await fleet.node({ name: "b", databases: {}, peers: [a.address], flags: ["--files", `uploads=${there}`] });
      writeFileSync(join(there, "d", "f0"), "first");
      await until(() => readFileSync(join(here, "d", "f0"), "utf8") === "first", { what: "the first file", withinMs: 30_000 }).catch(
        () => {},
      );
      const swapper = spawn("python3", [SWAPPER, join(here, "d"), fleet.path("aside", "d"), canary, String(SECONDS)]);
      let swaps = "";
      swapper.stdout.on("data", (text: Buffer) => (swaps += text.toString()));
      const over = once(swapper, "exit");
      for (let turn = 0; swapper.exitCode === null; turn++) {
        const name = NAMES[turn % NAMES.length] ?? "";
        if (turn % 7 === 6) rmSync(join(there, "d", name), { force: true });
        else write(join(there, "d", name), `turn ${turn} of ${name}`);
        if (turn % 5 === 0) write(join(there, "d", "sub", "deep"), `turn ${turn}`);
        await pause(15);
      }
      await over;
      console.log(`${swaps.trim()} swaps`);
      expect(Number(swaps)).toBeGreaterThan(50);
      expect(stateOf(canary)).toEqual(before);
      await until(async () => (await fleet.sync(a, b)).code === 0 && (await scoutsync(["verify", a.address, b.address])).code === 0, {
        what: "two equal nodes",
        withinMs: 90_000,
        everyMs: 1_000,
      });
      execFileSync("diff", ["-r", "-x", ".scoutsync-store", here, there]);
      expect(stateOf(canary)).toEqual(before);
      // Nor has anything been taken for a version of a file: not in place, and not in a store.
      for (const root of [here, there]) expect(spawnSync("grep", ["-r", "secret of", root]).status).toBe(1);
    } finally {
      await fleet.stop();
    }
  },
);
