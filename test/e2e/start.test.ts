import {
  childEnvironment,
  scoutsync,
  selectOne,
  sqliteProgram,
  startWriter,
  temporaryFolder,
  until,
  type TemporaryFolder,
} from "@scoutsync/testkit";
import { spawn, type ChildProcess } from "node:child_process";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { afterEach, beforeEach, expect, test } from "vitest";

const MAIN = fileURLToPath(new URL("../../packages/cli/src/start/main.ts", import.meta.url));

let folder: TemporaryFolder;
let playground: ChildProcess | null = null;
beforeEach(() => {
  folder = temporaryFolder("start");
});
afterEach(async () => {
  playground?.kill("SIGKILL");
  const removed = () => {
    folder.remove();
    return true;
  };
  // Its services end with it, but not at the same moment, and write until then.
  await until(removed, { what: "the folder is removed" });
});

interface Running {
  child: ChildProcess;
  text: string;
  addresses: string[];
  pids: number[];
}

/** Starts what `npm start` starts, in an empty folder, with a private Redis. */
async function start(): Promise<Running> {
  const child = spawn(process.execPath, [MAIN], {
    cwd: folder.path,
    env: { ...childEnvironment(), REDIS_URL: "" },
    stdio: ["ignore", "pipe", "pipe"],
  });
  playground = child;
  let text = "";
  child.stdout.on("data", (piece: Buffer) => (text += piece.toString()));
  child.stderr.on("data", (piece: Buffer) => (text += piece.toString()));
  await until(() => text.includes("Ctrl-C stops everything"), { what: `the playground; it said: ${text}`, withinMs: 60_000 });
  const nodes = [...text.matchAll(/^node\s+\S+\s+gRPC (\S+)\s+process (\d+)/gm)];
  return { child, text, addresses: nodes.map((match) => match[1] ?? ""), pids: nodes.map((match) => Number(match[2])) };
}

const isAlive = (pid: number) => {
  try {
    return process.kill(pid, 0);
  } catch {
    return false;
  }
};

test("npm start brings up a fleet that syncs, comes back when started again, and leaves nothing running", async () => {
  const first = await start();
  expect(first.addresses.length).toBe(3);
  const coordinator = /^coordinator\s+http:\/\/(\S+)\s+gRPC (\S+)/m.exec(first.text);
  const [pits, , judges] = ["pits", "stands", "judges"].map((name) => join(folder.path, "data", name, "chinook.sqlite"));
  const insert = "INSERT INTO Artist(Name) VALUES ('The Offline Band')";
  if (sqliteProgram(pits ?? "", insert) === null) {
    const writer = startWriter();
    await writer.write({ path: pits ?? "", statements: [[insert, []]] });
    await writer.stop();
  }
  await until(() => selectOne(judges ?? "", "SELECT count(*) FROM Artist WHERE Name = 'The Offline Band'") === 1n, {
    what: "the artist on the third node",
    withinMs: 30_000,
  });
  let seen: { name: string; online: boolean }[] = [];
  const areOnline = async () => {
    const status = await scoutsync(["status", "--coordinator", coordinator?.[2] ?? "", "--json"]);
    seen = status.json<{ nodes: typeof seen }>().nodes;
    return seen.length === 3 && seen.every(({ online }) => online);
  };
  await until(areOnline, { what: "the coordinator hearing all three", everyMs: 1_000 });
  expect(seen.map(({ name }) => name)).toEqual(["pits", "stands", "judges"]);

  const ended = new Promise<number | null>((resolve) => first.child.once("exit", resolve));
  first.child.kill("SIGINT");
  expect(await ended).toBe(0);
  expect(first.pids.filter(isAlive)).toEqual([]);

  const second = await start();
  expect(selectOne(judges ?? "", "SELECT count(*) FROM Artist WHERE Name = 'The Offline Band'")).toBe(1n);
  second.child.kill("SIGKILL");
  await until(() => second.pids.every((pid) => !isAlive(pid)), { what: "the nodes to end with their parent", withinMs: 15_000 });
});
