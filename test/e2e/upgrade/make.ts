/**
 * Makes a kept fleet with the program of a released version:
 *
 *     git worktree add --detach /tmp/released COMMIT && (cd /tmp/released && npm ci)
 *     node test/e2e/upgrade/make.ts /tmp/released test/e2e/upgrade/released/COMMIT
 *
 * Three node processes of that version run the history; then they are killed, the applications write once more, and what
 * is on disk is kept: the database of each with its metadata, compressed, and the files of its data directory, in which the
 * folder of that run reads FOLDER.
 */
import { mkdirSync, readdirSync, readFileSync, rmSync, statSync, writeFileSync } from "node:fs";
import { join, resolve } from "node:path";
import { DatabaseSync } from "node:sqlite";
import { pathToFileURL } from "node:url";
import { gzipSync } from "node:zlib";
import type * as Testkit from "@scoutsync/testkit";
import { AFTERWARDS, HISTORY, SCHEMA, SERVERS, type Server, type Step } from "./history.ts";

const [tree, into] = process.argv.slice(2);
if (tree === undefined || into === undefined) throw new Error("usage: make.ts TREE FOLDER");
const testkit = join(resolve(tree), "packages/testkit/src/index.ts");
const { Fleet } = (await import(pathToFileURL(testkit).href)) as typeof Testkit;

const fleet = new Fleet("released");
const path = (server: Server) => fleet.path(server, "app.db");

function write(server: Server, sql: string): void {
  const database = new DatabaseSync(path(server), { timeout: 10_000 });
  database.exec(`PRAGMA foreign_keys = ON; BEGIN IMMEDIATE; ${sql}; COMMIT`);
  database.close();
}

try {
  for (const server of SERVERS) {
    const database = new DatabaseSync(path(server));
    database.exec(SCHEMA);
    database.close();
  }
  const nodes = Object.fromEntries(
    await Promise.all(SERVERS.map(async (name) => [name, await fleet.node({ name, databases: { app: path(name) } })] as const)),
  ) as Record<Server, Awaited<ReturnType<typeof fleet.node>>>;
  const run = async (step: Step) => {
    if ("at" in step) return write(step.at, step.sql);
    const done = await fleet.sync(nodes[step.sync[0]], nodes[step.sync[1]]);
    if (done.code !== 0) throw new Error(done.stdout + done.stderr);
  };
  for (const step of HISTORY) await run(step);
  for (const server of SERVERS) await nodes[server].kill();
  for (const step of AFTERWARDS) await run(step);
  rmSync(into, { recursive: true, force: true });
  for (const server of SERVERS) {
    mkdirSync(join(into, server, "data"), { recursive: true });
    // What is in the log goes into the file, as with the last connection that closes.
    const database = new DatabaseSync(path(server));
    database.exec("PRAGMA wal_checkpoint(TRUNCATE)");
    database.close();
    writeFileSync(join(into, server, "app.db.gz"), gzipSync(readFileSync(path(server)), { level: 9 }));
    for (const file of readdirSync(fleet.path(server, "node-data"))) {
      const text = readFileSync(fleet.path(server, "node-data", file), "utf8");
      writeFileSync(join(into, server, "data", file), text.replaceAll(fleet.directory, "FOLDER"));
    }
  }
  for (const file of readdirSync(into, { recursive: true, encoding: "utf8" })) {
    const { size } = statSync(join(into, file));
    process.stdout.write(`${size}\t${file}\n`);
  }
} finally {
  await fleet.stop();
}
