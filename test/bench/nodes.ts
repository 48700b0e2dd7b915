import { once } from "node:events";
import { existsSync, readFileSync, statSync } from "node:fs";
import { Worker } from "node:worker_threads";
import { connectPeer } from "@scoutsync/protocol";
import { Fleet, type FleetNode, scoutsync } from "@scoutsync/testkit";
import type Database from "better-sqlite3";
import { rawTime } from "./apply.ts";
import { insertRows, openApplication, rowSource } from "./rows.ts";
import { count, median, percentile, ratio, record } from "./table.ts";

/** Largest resident memory so far of a process, bytes; 0 where /proc does not tell. */
function peakMemory(pid: number): number {
  const path = `/proc/${pid}/status`;
  if (!existsSync(path)) return 0;
  return Number(/VmHWM:\s+(\d+) kB/.exec(readFileSync(path, "utf8"))?.[1] ?? 0) * 1024;
}

interface SyncJson {
  success: boolean;
  verified: boolean;
  duration_ms: number;
  stats: { remote_changes_applied: number; bytes_received: number };
}

async function sync(node: FleetNode, peer: FleetNode): Promise<SyncJson> {
  const outcome = await scoutsync(["sync", node.address, peer.address, "--json"], { withinMs: 300_000 });
  const result = outcome.json<SyncJson>();
  if (!result.success || !result.verified) throw new Error(`a session failed: ${outcome.stdout} ${outcome.stderr}`);
  return result;
}

/** Node to node over gRPC between real processes: catch-up, memory, Ping and locks meanwhile, then small sessions and live mode. */
export async function measureNodes(folder: string, sizes: readonly number[]): Promise<void> {
  const small: number[] = [];
  for (const size of sizes) {
    const fleet = new Fleet("bench");
    try {
      const raw = rawTime(folder, size);
      const path = fleet.path("a", "main.db");
      const app = openApplication(path);
      const empty = openApplication(fleet.path("b", "main.db"));
      empty.exec("DELETE FROM team; DELETE FROM match");
      empty.close();
      const a = await fleet.node({ name: "a", databases: { main: path } });
      insertRows(app, size, 10_000);
      const b = await fleet.node({ name: "b", databases: { main: fleet.path("b", "main.db") } });
      const last = size === sizes.at(-1);
      await drained(a, size);
      const meanwhile = watch(b, fleet.path("b", "main.db"));
      const result = await sync(b, a);
      const { pings, longestLockMs } = await meanwhile.stop();
      const perRaw = result.duration_ms / raw.ms;
      const rows = (size / result.duration_ms) * 1000;
      record({
        what: `catch-up of ${size} changes, empty to verified ÷ raw`,
        measured: `${ratio(perRaw)} (${count(rows)} rows/s)`,
        bar: last ? "≤ 3.0×, ≥ 40,000 rows/s" : "",
        within: last ? perRaw <= 3 && rows >= 40_000 : null,
      });
      const memory = [a, b].map((node) => peakMemory(node.process.pid) / 1e6);
      record({
        what: `resident memory at most, source and receiver, ${size} changes`,
        measured: `${count(memory[0] ?? 0)} and ${count(memory[1] ?? 0)} MB`,
        bar: last ? "≤ 300 MB" : "",
        within: last ? Math.max(...memory) <= 300 : null,
      });
      record({
        what: `Ping p99 of the receiver meanwhile, ${size} changes`,
        measured: `${percentile(pings, 0.99).toFixed(1)} ms of ${pings.length}`,
        bar: last ? "≤ 50 ms" : "",
        within: last ? percentile(pings, 0.99) <= 50 : null,
      });
      record({
        what: `longest time the write lock was held meanwhile, ${size} changes`,
        measured: `${longestLockMs.toFixed(0)} ms`,
        bar: last ? "≤ 500 ms" : "",
        within: last ? longestLockMs <= 500 : null,
      });
      const idle: number[] = [];
      for (let i = 0; i < 5; i++) idle.push((await sync(b, a)).duration_ms);
      record({
        what: `a sync with nothing to do, ${size} rows`,
        measured: `${median(idle).toFixed(1)} ms`,
        bar: last ? "≤ 5 ms" : "",
        within: last ? median(idle) <= 5 : null,
      });
      const hundreds: number[] = [];
      for (let i = 0; i < 7; i++) {
        insertRows(app, 100, 100, size + 1 + i * 100, i + 5);
        await drained(a, size + (i + 1) * 100);
        hundreds.push((await sync(b, a)).duration_ms);
      }
      small.push(median(hundreds));
      const starting = performance.now();
      await a.restart();
      record({
        what: `restart of a node with ${size} rows until it serves`,
        measured: `${((performance.now() - starting) / 1000).toFixed(2)} s`,
        bar: last ? "≤ 2 s" : "",
        within: last ? performance.now() - starting <= 2_000 : null,
      });
      app.close();
      record({ what: `database files, ${size} rows`, measured: `${count(statSync(path).size / 1e6)} MB`, bar: "", within: null });
    } finally {
      await fleet.stop();
    }
  }
  const growth = (small.at(-1) as number) / (small[0] as number);
  record({
    what: `100 changes into ${sizes.at(-1)} rows ÷ into ${sizes[0]}`,
    measured: `${ratio(growth)} (${small.map((ms) => `${ms.toFixed(0)} ms`).join(", ")})`,
    bar: "≤ 1.2×",
    within: growth <= 1.2,
  });
}

/** The same catch-up in plain text and over mutual TLS, three times each in turn, so that both meet the same weather. */
export async function measureTls(size: number): Promise<void> {
  const took: Record<"plain" | "tls", number[]> = { plain: [], tls: [] };
  for (let round = 0; round < 3; round++) {
    for (const way of ["plain", "tls"] as const) took[way].push(await catchUpTime(size, way === "tls"));
  }
  const more = median(took.tls) / median(took.plain);
  record({
    what: `catch-up of ${size} changes over mutual TLS ÷ in plain text`,
    measured: `${ratio(more)} (${median(took.tls).toFixed(0)} and ${median(took.plain).toFixed(0)} ms)`,
    bar: "≤ 1.3×",
    within: more <= 1.3,
  });
}

/** Milliseconds of one session that fills an empty node. */
async function catchUpTime(size: number, secure: boolean): Promise<number> {
  const fleet = new Fleet("bench-tls");
  try {
    const env = { XDG_CONFIG_HOME: fleet.path("home", "config") };
    const run = async (...args: string[]) => {
      const done = await scoutsync([...args, "--json"], { env, withinMs: 300_000 });
      if (done.code !== 0) throw new Error(`scoutsync ${args[0] ?? ""}: ${done.stderr}`);
      return done;
    };
    const data = fleet.path("a", "node-data");
    if (secure) await run("init", "--role", "node", "--name", "a", "--data", data);
    const app = openApplication(fleet.path("a", "main.db"));
    const empty = openApplication(fleet.path("b", "main.db"));
    empty.exec("DELETE FROM team; DELETE FROM match");
    empty.close();
    insertRows(app, size, 10_000);
    app.close();
    const a = await fleet.node({ name: "a", databases: { main: fleet.path("a", "main.db") } });
    const code = secure ? (await run("invite", "--data", data)).json<{ code: string }>().code : "";
    const flags = secure ? ["--join", code] : [];
    // Told of somebody who is not there: it would begin by itself with the one that let it in.
    const peers = ["127.0.0.1:1"];
    const b = await fleet.node({ name: "b", databases: { main: fleet.path("b", "main.db") }, flags, peers });
    const result = (await run("sync", b.address, a.address)).json<SyncJson>();
    if (!result.success || !result.verified) throw new Error(`a session failed: ${JSON.stringify(result)}`);
    return result.duration_ms;
  } finally {
    await fleet.stop();
  }
}

/** Waits until a node has turned so many rows into changes. */
async function drained(node: FleetNode, rows: number): Promise<void> {
  const peer = connectPeer(node.address);
  try {
    for (;;) {
      const { databases } = await peer.ping();
      const [database] = databases;
      if (database && Number(database.rows) >= rows + 160) return;
      await new Promise((resolve) => setTimeout(resolve, 20));
    }
  } finally {
    peer.close();
  }
}

/** Pings a node every 20 ms; a thread looks every 2 ms whether its database can be written. */
function watch(node: FleetNode, path: string): { stop(): Promise<{ pings: number[]; longestLockMs: number }> } {
  const peer = connectPeer(node.address);
  const writer = new Worker(new URL("./lock-watch.ts", import.meta.url), { workerData: path });
  const pings: number[] = [];
  let running = true;
  const pinging = (async () => {
    while (running) {
      const start = performance.now();
      await peer.ping();
      pings.push(performance.now() - start);
      await new Promise((resolve) => setTimeout(resolve, 20));
    }
  })();
  return {
    stop: async () => {
      running = false;
      await pinging;
      peer.close();
      const longest = once(writer, "message");
      writer.postMessage("stop");
      const [longestLockMs] = (await longest) as [number];
      await writer.terminate();
      return { pings, longestLockMs };
    },
  };
}

/** From a commit on one node to the row being visible in the other's file. */
export async function measureLive(): Promise<void> {
  const fleet = new Fleet("bench-live");
  try {
    const paths = ["a", "b"].map((name) => fleet.path(name, "main.db")) as [string, string];
    const apps = paths.map(openApplication);
    apps.forEach((db) => db.exec("DELETE FROM team; DELETE FROM match"));
    const a = await fleet.node({ name: "a", databases: { main: paths[0] } });
    await fleet.node({ name: "b", databases: { main: paths[1] }, peers: [a.address] });
    const [from, to] = apps as [Database.Database, Database.Database];
    from.exec("INSERT INTO team VALUES(1, 1); INSERT INTO match VALUES(1, 1)");
    const source = rowSource();
    const insert = from.prepare("INSERT INTO scouting_data VALUES(?, 1, 1, ?, ?, ?, ?, ?, ?, ?)");
    const find = to.prepare("SELECT 1 FROM scouting_data WHERE id = ?");
    const samples: number[] = [];
    for (let id = 1; id <= 150; id++) {
      const row = source(id);
      insert.run(id, ...row.slice(3));
      const start = performance.now();
      while (!find.get(id)) await new Promise((resolve) => setTimeout(resolve, 2));
      samples.push(performance.now() - start);
      await new Promise((resolve) => setTimeout(resolve, 10 + (id % 40)));
    }
    apps.forEach((db) => db.close());
    const slow = percentile(samples.slice(5), 0.99);
    record({
      what: "live: commit on one node to visible on the other, p50 and p99",
      measured: `${median(samples).toFixed(0)} and ${slow.toFixed(0)} ms`,
      bar: "≤ 250 ms",
      within: slow <= 250,
    });
  } finally {
    await fleet.stop();
  }
}
