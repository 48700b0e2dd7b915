import { spawn, spawnSync } from "node:child_process";
import { randomBytes } from "node:crypto";
import { closeSync, existsSync, mkdirSync, openSync, readFileSync, rmSync, writeFileSync, writeSync } from "node:fs";
import { connect, createServer, type AddressInfo } from "node:net";
import { loadavg } from "node:os";
import { join } from "node:path";
import { Fleet, scoutsync, until, type FleetNode } from "@scoutsync/testkit";
import { count, median, ratio, record } from "./table.ts";

const MIB = 1024 * 1024;

interface SyncJson {
  success: boolean;
  verified: boolean;
  duration_ms: number;
  stats: { files_uploaded: number; files_downloaded: number; bytes_sent: number; bytes_received: number };
}

async function sync(node: FleetNode, peer: FleetNode): Promise<SyncJson> {
  const outcome = await scoutsync(["sync", node.address, peer.address, "--json"], { withinMs: 1_200_000 });
  const result = outcome.json<SyncJson>();
  if (!result.success || !result.verified) throw new Error(`a session failed: ${outcome.stdout} ${outcome.stderr}`);
  return result;
}

/** Two nodes with a root each; the receiver has looked at its empty one. */
async function pair(fleet: Fleet, root: string): Promise<[FleetNode, FleetNode]> {
  const empty = fleet.path("b", "files");
  mkdirSync(empty, { recursive: true });
  return [await nodeWith(fleet, "a", root), await nodeWith(fleet, "b", empty)];
}

function nodeWith(fleet: Fleet, name: string, root: string): Promise<FleetNode> {
  return fleet.node({ name, databases: {}, flags: ["--files", `files=${root}`, "--file-min-free-mib", "0"] });
}

/** New files against an rsync daemon on the same loopback, one changed block in a large file, and a root of many files. */
export async function measureFiles(mebibytes: number, many: number): Promise<void> {
  await measureNewFiles(mebibytes);
  await measureDelta(mebibytes);
  await measureMany(many);
}

/** One after the other in each round, so that both meet the same machine; the medians of three rounds count. */
async function measureNewFiles(mebibytes: number): Promise<void> {
  const fleet = new Fleet("bench-files");
  try {
    const root = fleet.path("a", "files");
    mkdirSync(root, { recursive: true });
    // Half of it in one file, half in files of 2 MiB.
    fill(join(root, "large"), mebibytes / 2);
    for (let n = 0; n < mebibytes / 4; n++) fill(join(root, `file ${n}`), 2);
    const a = await nodeWith(fleet, "a", root);
    await until(
      async () =>
        (await scoutsync(["ping", a.address, "--json"])).json<{ files: { files: number }[] }>().files[0]?.files === mebibytes / 4 + 1,
      {
        what: "the first look at the files",
        withinMs: 300_000,
      },
    );
    const what = `${mebibytes} MiB of new files, verified and durable`;
    const rounds: NewFilesRound[] = [];
    for (let round = 0; round < 3; round++) rounds.push(await oneRound(fleet, a, root, round));
    const middle = (of: (round: NewFilesRound) => number) => median(rounds.map(of));
    const seconds = middle(({ pulled }) => pulled);
    const load = rounds.map((round) => round.load.toFixed(1)).join(", ");
    record({ what, measured: `${seconds.toFixed(1)} s (${count(mebibytes / seconds)} MiB/s), load ${load}`, bar: "", within: null });
    if (rounds.some(({ durable }) => durable === 0)) {
      record({ what: `${what} ÷ rsync`, measured: "rsync is not installed", bar: "≤ 1.5×", within: null });
      return;
    }
    const compare = (name: string, of: (round: NewFilesRound) => number, bar: string) => {
      const value = middle(of);
      record({ what: `${what}${name}`, measured: ratio(value), bar, within: bar === "" ? null : value <= 1.5 });
    };
    compare(" ÷ rsync --fsync", ({ pulled, durable }) => pulled / durable, "≤ 1.5×");
    compare(" ÷ rsync (not durable)", ({ pulled, plain }) => pulled / plain, "≤ 1.5×");
    compare(", given by the side that has them ÷ rsync --fsync", ({ pushed, durable }) => pushed / durable, "≤ 1.5×");
    record({
      what: "resident memory at most, source and receiver",
      measured: `${count(peakMemory(a) / 1e6)} and ${count(Math.max(...rounds.map(({ memory }) => memory)) / 1e6)} MB`,
      bar: "",
      within: null,
    });
  } finally {
    await fleet.stop();
  }
}

/** Seconds, 0 where there is no rsync; load is that of the machine, and memory bytes of the receiver. */
interface NewFilesRound {
  plain: number;
  durable: number;
  pulled: number;
  pushed: number;
  load: number;
  memory: number;
}

async function oneRound(fleet: Fleet, a: FleetNode, root: string, round: number): Promise<NewFilesRound> {
  const plain = (await rsyncSeconds(fleet, root, [])) ?? 0;
  const durable = (await rsyncSeconds(fleet, root, ["--fsync"])) ?? 0;
  const seconds = async (name: string, run: (receiver: FleetNode) => Promise<SyncJson>): Promise<{ took: number; memory: number }> => {
    const received = fleet.path(name, "files");
    mkdirSync(received, { recursive: true });
    const receiver = await nodeWith(fleet, name, received);
    try {
      const { duration_ms: ms } = await run(receiver);
      if (spawnSync("diff", ["-rq", "-x", ".scoutsync-store", root, received]).status !== 0) throw new Error("the roots differ");
      return { took: ms / 1000, memory: peakMemory(receiver) };
    } finally {
      await receiver.stop();
      rmSync(received, { recursive: true, force: true });
    }
  };
  const pulled = await seconds(`puller-${round}`, (receiver) => sync(receiver, a));
  const pushed = await seconds(`pushed-to-${round}`, (receiver) => sync(a, receiver));
  const [load = 0] = loadavg();
  return { plain, durable, pulled: pulled.took, pushed: pushed.took, load, memory: Math.max(pulled.memory, pushed.memory) };
}

async function measureDelta(mebibytes: number): Promise<void> {
  const fleet = new Fleet("bench-delta");
  try {
    const root = fleet.path("a", "files");
    mkdirSync(root, { recursive: true });
    fill(join(root, "large"), mebibytes);
    const [a, b] = await pair(fleet, root);
    await sync(b, a);
    const file = openSync(join(root, "large"), "r+");
    writeSync(file, randomBytes(1_024), 0, 1_024, (mebibytes / 2) * MIB + 777);
    closeSync(file);
    const { stats, duration_ms: ms } = await sync(b, a);
    const moved = stats.bytes_received + stats.bytes_sent;
    record({
      what: `1 KiB changed in a file of ${mebibytes} MiB`,
      measured: `${count(moved / 1024)} KiB moved, ${(ms / 1000).toFixed(1)} s`,
      bar: "≤ 1024 KiB",
      within: moved <= MIB,
    });
    record({
      what: "resident memory at most of it, source and receiver",
      measured: [a, b].map((node) => count(peakMemory(node) / 1e6)).join(" and ") + " MB",
      bar: "",
      within: null,
    });
  } finally {
    await fleet.stop();
  }
}

async function measureMany(files: number): Promise<void> {
  const fleet = new Fleet("bench-many");
  try {
    const root = fleet.path("a", "files");
    for (let n = 0; n < files; n++) {
      if (n % 500 === 0) mkdirSync(join(root, `folder ${n / 500}`), { recursive: true });
      writeFileSync(join(root, `folder ${Math.floor(n / 500)}`, `file ${n}`), `file number ${n}`);
    }
    const [a, b] = await pair(fleet, root);
    const first = await sync(b, a);
    record({ what: `${files} new small files`, measured: `${(first.duration_ms / 1000).toFixed(1)} s`, bar: "", within: null });
    const started = performance.now();
    await scoutsync(["files", "status", a.address, "--json"], { withinMs: 300_000 });
    const withLook = performance.now() - started;
    const pinged = performance.now();
    await scoutsync(["ping", a.address, "--json"]);
    const seconds = (withLook - (performance.now() - pinged)) / 1000;
    record({ what: `a look at ${files} files, nothing changed`, measured: `${seconds.toFixed(2)} s`, bar: "≤ 2 s", within: seconds <= 2 });
    writeFileSync(join(root, "folder 0", "file 0"), "changed");
    const { stats, duration_ms: ms } = await sync(b, a);
    const moved = stats.files_downloaded + stats.files_uploaded;
    record({
      what: `a session after one of ${files} files changed`,
      measured: `${moved} file moved, ${(ms / 1000).toFixed(2)} s`,
      bar: "1 file",
      within: moved === 1,
    });
  } finally {
    await fleet.stop();
  }
}

/** Random bytes: nothing about them can be guessed or compressed. */
function fill(path: string, mebibytes: number): void {
  const file = openSync(path, "w");
  for (let n = 0; n < mebibytes; n++) writeSync(file, randomBytes(MIB));
  closeSync(file);
}

/** Seconds that an rsync client needs from a daemon on loopback into an empty folder; null where there is no rsync. */
async function rsyncSeconds(fleet: Fleet, root: string, flags: readonly string[]): Promise<number | null> {
  if (spawnSync("rsync", ["--version"]).error) return null;
  const port = await freePort();
  const configuration = fleet.path("rsync", "rsyncd.conf");
  writeFileSync(configuration, `use chroot = no\n[files]\npath = ${root}\nread only = yes\nexclude = .scoutsync-store\n`);
  const daemon = spawn("rsync", ["--daemon", "--no-detach", `--config=${configuration}`, `--port=${port}`, "--address=127.0.0.1"], {
    stdio: "ignore",
  });
  const target = fleet.path("rsync", "target");
  try {
    await until(() => answers(port), { what: "the rsync daemon" });
    const started = performance.now();
    const done = spawnSync("rsync", ["-r", "--times", ...flags, `rsync://127.0.0.1:${port}/files/`, `${target}/`], { encoding: "utf8" });
    const seconds = (performance.now() - started) / 1000;
    if (done.status !== 0) throw new Error(`rsync failed: ${done.stderr}`);
    return seconds;
  } finally {
    daemon.kill();
    rmSync(target, { recursive: true, force: true });
  }
}

async function freePort(): Promise<number> {
  const server = createServer();
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  const { port } = server.address() as AddressInfo;
  await new Promise((resolve) => server.close(resolve));
  return port;
}

function answers(port: number): Promise<boolean> {
  return new Promise((resolve) => {
    const socket = connect(port, "127.0.0.1");
    socket.once("connect", () => {
      socket.destroy();
      resolve(true);
    });
    socket.once("error", () => resolve(false));
  });
}

/** Largest resident memory so far of a node, bytes; 0 where /proc does not tell. */
function peakMemory(node: FleetNode): number {
  const path = `/proc/${node.process.pid}/status`;
  if (!existsSync(path)) return 0;
  return Number(/VmHWM:\s+(\d+) kB/.exec(readFileSync(path, "utf8"))?.[1] ?? 0) * 1024;
}
