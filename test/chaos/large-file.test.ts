import { createHash, randomBytes } from "node:crypto";
import { closeSync, createReadStream, existsSync, mkdirSync, openSync, readFileSync, readdirSync, statSync, writeSync } from "node:fs";
import { join } from "node:path";
import { boundOf, chooseSeed, Fleet, scoutsync, seededRandom, until, type FleetNode } from "@scoutsync/testkit";
import { pause } from "@scoutsync/runtime";
import { expect, test } from "vitest";

// Any size by hand: SCOUTSYNC_LARGE_MIB=2048 SCOUTSYNC_KILLS=20.
const MEBIBYTES = Number(process.env["SCOUTSYNC_LARGE_MIB"] ?? 64);
const KILLS = Number(process.env["SCOUTSYNC_KILLS"] ?? 4);
const SEED = chooseSeed();
const MIB = 1024 * 1024;
/** Of one node, whatever the size of the file: what the program takes, and what is on its way. */
const MEMORY_MIB = 500;

async function hashOf(path: string): Promise<string> {
  const sum = createHash("sha256");
  for await (const piece of createReadStream(path, { highWaterMark: MIB })) sum.update(piece as Buffer);
  return sum.digest("hex");
}

/** Largest resident memory so far, MiB; 0 where /proc does not tell. */
function peakMemory({ process: { pid } }: FleetNode): number {
  const path = `/proc/${pid}/status`;
  return existsSync(path) ? Number(/VmHWM:\s+(\d+) kB/.exec(readFileSync(path, "utf8"))?.[1] ?? 0) / 1024 : 0;
}

test(
  `a file of ${MEBIBYTES} MiB survives ${KILLS} kills on its way, fetched and given, and goes on where it was (seed ${SEED})`,
  {
    timeout: boundOf(360_000) + MEBIBYTES * 3_000 + KILLS * 45_000,
  },
  async () => {
    const random = seededRandom(SEED).next;
    const fleet = new Fleet("large-file");
    try {
      const roots = ["a", "b"].map((name) => fleet.path(name, "files"));
      for (const root of roots) mkdirSync(root, { recursive: true });
      const [here = "", there = ""] = roots;
      const file = openSync(join(here, "large"), "w");
      for (let n = 0; n < MEBIBYTES; n++) writeSync(file, randomBytes(MIB));
      closeSync(file);
      // As slow as to be cut in the middle: all of it would take as many seconds as there are kills, and some.
      const rate = String(Math.ceil(MEBIBYTES / (KILLS + 2)));
      const flags = (root: string) => ["--files", `files=${root}`, "--file-min-free-mib", "0", "--file-rate-mib", rate];
      const [a, b] = await Promise.all(
        roots.map((root, at) => fleet.node({ name: at === 0 ? "a" : "b", databases: {}, flags: flags(root) })),
      );
      const staged = () => {
        const folder = join(there, ".scoutsync-store", "staging");
        return readdirSync(folder).reduce((sum, name) => sum + (statSync(join(folder, name), { throwIfNoEntry: false })?.size ?? 0), 0);
      };
      let before = 0;
      for (let kill = 0; kill < KILLS; kill++) {
        // Fetched by the one that lacks it, and given by the one that has it, in turns.
        const [by, other] = kill % 2 === 0 ? [b!, a!] : [a!, b!];
        const cut = scoutsync(["sync", by.address, other.address, "--json"], { withinMs: 600_000 });
        // In the middle of it: more has come than before, and not yet all.
        await until(() => existsSync(join(there, "large")) || staged() > before, {
          what: "more of the file",
          withinMs: 60_000,
          everyMs: 100,
        });
        await pause(random() * 700);
        const victim = kill % 4 < 2 ? b! : a!;
        expect(peakMemory(victim)).toBeLessThan(MEMORY_MIB);
        await victim.kill();
        await cut;
        expect(existsSync(join(there, "large")) && statSync(join(there, "large")).size !== MEBIBYTES * MIB).toBe(false);
        // What came before a kill is still there after it.
        const now = existsSync(join(there, "large")) ? before : staged();
        expect(now).toBeGreaterThanOrEqual(before);
        before = now;
        await victim.restart();
      }
      console.log(`${KILLS} kills: ${Math.round(before / MIB)} of ${MEBIBYTES} MiB had come (seed ${SEED})`);
      const done = await scoutsync(["sync", b!.address, a!.address, "--json"], { withinMs: 600_000 });
      const { success, verified, stats } = done.json<{ success: boolean; verified: boolean; stats: { bytes_received: number } }>();
      expect({ success, verified }, done.stdout).toEqual({ success: true, verified: true });
      expect(stats.bytes_received).toBeLessThanOrEqual(MEBIBYTES * MIB - before);
      expect(before).toBeGreaterThan(0);
      expect(await hashOf(join(there, "large"))).toBe(await hashOf(join(here, "large")));
      for (const node of [a!, b!]) expect(peakMemory(node)).toBeLessThan(MEMORY_MIB);
      console.log(`at most ${[a!, b!].map((node) => Math.round(peakMemory(node))).join(" and ")} MiB of memory`);
    } finally {
      await fleet.stop();
    }
  },
);
