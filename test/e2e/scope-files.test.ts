import { createHash } from "node:crypto";
import { existsSync, mkdirSync, readdirSync, readFileSync, rmSync, statSync, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";
import type { FileEntry } from "@scoutsync/core";
import { connectPeer, fileClient, type PeerClient } from "@scoutsync/protocol";
import { Fleet, scoutsync, until, type FleetNode } from "@scoutsync/testkit";
import { dialAs, Trust } from "@scoutsync/trust";
import { afterEach, beforeEach, expect, onTestFinished, test } from "vitest";

let fleet: Fleet;
let env: Record<string, string>;

beforeEach(() => {
  fleet = new Fleet("scope-files");
  env = { XDG_CONFIG_HOME: fleet.path("home", "config") };
});
afterEach(() => fleet.stop());

const hashOf = (text: string) => createHash("sha256").update(text).digest("hex");
const at = (name: string, path: string) => join(fleet.directory, name, "uploads", path);
const textAt = (name: string, path: string) => (existsSync(at(name, path)) ? readFileSync(at(name, path), "utf8") : null);

function write(name: string, path: string, text: string): void {
  mkdirSync(dirname(at(name, path)), { recursive: true });
  writeFileSync(at(name, path), text);
}

/** Waits until these nodes have this text there; null = no file. */
const holds = (path: string, text: string | null, ...names: string[]) =>
  until(() => names.every((name) => textAt(name, path) === text), { what: `${names.join(", ")}: ${path} is ${text}`, withinMs: 60_000 });

function define(blue: string): void {
  writeFileSync(fleet.path("scopes.yaml"), `blue:\n  files: { uploads: ${blue} }\nred:\n  files: { uploads: [red/, both/] }\n`);
}

async function laptop(name: string, scope: string): Promise<FleetNode> {
  const made = await scoutsync(["invite", "--data", fleet.path("server", "node-data"), "--json", "--scope", scope], { env });
  expect(made.code, made.stderr).toBe(0);
  mkdirSync(at(name, ""), { recursive: true });
  return fleet.node({
    name,
    databases: {},
    baseline: null,
    flags: ["--files", `uploads=${at(name, "")}`, "--join", made.json<{ code: string }>().code],
  });
}

function dial(server: FleetNode, as: string): PeerClient {
  const peer = connectPeer(server.address, undefined, dialAs(Trust.open(fleet.path(as, "node-data")) as Trust));
  onTestFinished(() => peer.close());
  return peer;
}

/** Every byte that a node keeps: its files, its store, what it remembers, its log. */
function everything(name: string): string {
  const below = (folder: string) => readdirSync(folder, { recursive: true, encoding: "utf8" }).map((path) => join(folder, path));
  return [...below(join(fleet.directory, name)), join(fleet.directory, "logs", `${name}.log`)]
    .filter((path) => statSync(path, { throwIfNoEntry: false })?.isFile() === true)
    .map((path) => `${path}\n${readFileSync(path, "latin1")}`)
    .join("\n");
}

test("two teams share a root over mutual TLS: each laptop has the files of its folders, and neither a byte, a name nor a hash of others", async () => {
  const data = fleet.path("server", "node-data");
  const made = await scoutsync(["init", "--role", "node", "--name", "server", "--data", data, "--json"], { env });
  expect(made.code, made.stderr).toBe(0);
  define("[blue/, both/]");
  write("server", "blue/plan.txt", "blue-plan");
  write("server", "blue/later/old.txt", "blue-old");
  write("server", "red/plan.txt", "red-plan");
  write("server", "both/rules.txt", "rules");
  write("server", "staff.txt", "staff-only");
  const server = await fleet.node({
    name: "server",
    databases: {},
    baseline: null,
    flags: ["--files", `uploads=${at("server", "")}`, "--scopes", fleet.path("scopes.yaml")],
  });
  const blue = await laptop("blue", "blue");
  write("blue-too", "mine.txt", "beside what the scope shows");
  await laptop("blue-too", "blue");
  await laptop("red", "red");
  await holds("blue/plan.txt", "blue-plan", "blue", "blue-too");
  await holds("both/rules.txt", "rules", "blue", "blue-too", "red");
  await holds("red/plan.txt", "red-plan", "red");

  // Both ways, through the server, with deletions.
  write("blue", "blue/from-blue.txt", "blue-new");
  write("red", "red/from-red.txt", "red-new");
  write("blue", "red/forged.txt", "blue-forged");
  await holds("blue/from-blue.txt", "blue-new", "server", "blue-too");
  await holds("red/from-red.txt", "red-new", "server");
  rmSync(at("blue-too", "blue/plan.txt"));
  await holds("blue/plan.txt", null, "server", "blue");
  expect([textAt("server", "red/forged.txt"), textAt("server", "mine.txt"), textAt("server", "blue/plan.txt")]).toEqual([null, null, null]);
  expect(textAt("blue-too", "mine.txt")).toBe("beside what the scope shows");
  // A file is gone from its folder a moment before its node has noted that.
  const areEqual = async () => {
    const synced = await scoutsync(["sync", blue.address, server.address, "--identity", fleet.path("blue", "node-data"), "--json"], {
      env,
    });
    const { success, verified } = synced.json<{ success: boolean; verified: boolean }>();
    return success && verified;
  };
  await until(areEqual, { what: "a session that finds both equal" });

  // Whoever knows paths and hashes of another team gets what nobody would get who made them up.
  const peer = dial(server, "blue");
  const files = fileClient(peer.client);
  const { files: roots } = await peer.ping();
  expect(roots.map(({ root, files: count }) => [root, Number(count)])).toEqual([["uploads", 3]]);
  const answers = async (hash: string, path: string) => {
    const said: string[] = [];
    const hide = (text: string) => text.replaceAll(hash, "HASH").replaceAll(path, "PATH");
    for await (const piece of files.fileBytes("uploads", [{ hash, offset: 0, length: 0 }])) said.push(hide(JSON.stringify(piece)));
    await files.fileRecipe("uploads", hash).catch((error: Error) => said.push(hide(error.message)));
    const entry: FileEntry = {
      path,
      kind: "file",
      hash,
      size: 8,
      mode: 6,
      modifiedUs: 1,
      stampUs: 1,
      version: new Map(),
      author: "thief",
      before: "",
      cause: "",
      losers: [],
    };
    const put = await files.openPut({ root: "uploads", name: "thief", index: "thiefthiefthief2" });
    said.push(hide(JSON.stringify(await put.offer([entry, { ...entry, path: `blue/${hash}` }]))));
    said.push(hide(JSON.stringify(await put.commit([hash]))));
    put.cancel();
    return said;
  };
  const real = await answers(hashOf("red-plan"), "red/plan.txt");
  expect(real).toEqual(await answers(hashOf("never written"), "none/nothing.txt"));
  expect(real.join("\n")).toMatch(/FORBIDDEN/);
  expect(textAt("server", "red/plan.txt")).toBe("red-plan");
  expect(readFileSync(join(data, "audit.log"), "utf8")).toMatch(/PutFile.*outside of the folders/);

  // Less: gone from the laptops, and nowhere else. What a laptop wrote there meanwhile stays on it.
  await server.stop();
  write("blue", "blue/later/unsent.txt", "blue-unsent");
  define("[blue/now/, both/]");
  await server.restart();
  await holds("blue/from-blue.txt", null, "blue", "blue-too");
  await holds("blue/later/old.txt", null, "blue", "blue-too");
  expect(textAt("server", "blue/from-blue.txt")).toBe("blue-new");
  expect(textAt("server", "blue/later/old.txt")).toBe("blue-old");
  expect(textAt("blue", "blue/later/unsent.txt")).toBe("blue-unsent");
  // More: all of it is back, and what was kept is told.
  await server.stop();
  define("[blue/, both/]");
  await server.restart();
  await holds("blue/from-blue.txt", "blue-new", "blue", "blue-too");
  await holds("blue/later/old.txt", "blue-old", "blue", "blue-too");
  await holds("blue/later/unsent.txt", "blue-unsent", "server", "blue-too");

  for (const name of ["blue", "blue-too"]) {
    const kept = everything(name);
    expect(kept).not.toMatch(/red-|staff|red\/(plan|from)/);
    for (const text of ["red-plan", "red-new", "staff-only"]) expect(kept).not.toContain(hashOf(text));
  }
  expect(everything("red")).not.toMatch(/blue|staff/);
}, 720_000);
