import { type ChildProcess, spawn, spawnSync } from "node:child_process";
import { mkdirSync, readFileSync } from "node:fs";
import { delimiter, join } from "node:path";
import { DatabaseSync } from "node:sqlite";
import { fileURLToPath } from "node:url";
import { tether } from "@scoutsync/runtime";
import { childEnvironment, selectOne, temporaryFolder, until } from "@scoutsync/testkit";
import { parse } from "yaml";
import { afterEach, expect, test } from "vitest";

const ROOT = fileURLToPath(new URL("../..", import.meta.url));

interface Service {
  entrypoint?: string[];
  command: string[];
  environment?: Record<string, string>;
  healthcheck?: { test: string[] };
  volumes?: string[];
}

const { services } = parse(readFileSync(join(ROOT, "docker-compose.yml"), "utf8"), { merge: true }) as {
  services: Record<string, Service>;
};
const NAMES = Object.keys(services);
const has = (program: string) => spawnSync(program, ["--version"]).status === 0;

/** Each service has an address of its own, as each container has: ports are as they are written. */
const addressOf = (name: string) => `127.7.70.${NAMES.indexOf(name) + 1}`;

const folder = temporaryFolder("compose");
const running: ChildProcess[] = [];
afterEach(async () => {
  for (const child of running.toReversed()) {
    if (child.exitCode !== null || child.signalCode !== null) continue;
    const ended = new Promise((resolve) => child.once("exit", resolve));
    process.kill(-(child.pid as number), "SIGTERM");
    await ended;
  }
  folder.remove();
});

/** A word of the file as it is on this machine: other containers' names and this one's own addresses are what stands for them here. */
function here(name: string, word: string): string {
  const named = NAMES.reduce(
    (text, other) => text.replaceAll(new RegExp(`(?<=^|[ /])${other}(?=:\\d)`, "g"), addressOf(other)),
    word.replaceAll("$$", "$"),
  );
  return named.replaceAll(/0\.0\.0\.0|127\.0\.0\.1/g, addressOf(name)).replaceAll("/var/lib/scoutsync", join(folder.path, name));
}

/** A container's own command, as its image would begin it. */
function commandOf(name: string, service: Service): string[] {
  const words = service.command.map((word) => here(name, word));
  if (service.entrypoint) return [...service.entrypoint, ...words];
  return name === "redis" ? [...words, "--bind", addressOf(name), "--dir", join(folder.path, name)] : ["scoutsync", ...words];
}

const environment = (service: Service) => ({
  ...childEnvironment(),
  ...service.environment,
  PATH: `${join(ROOT, "node_modules/.bin")}${delimiter}${process.env["PATH"] ?? ""}`,
});

function isHealthy(name: string): boolean {
  const [, program = "", ...words] = services[name]?.healthcheck?.test.map((word) => here(name, word)) ?? [];
  const own = program === "redis-cli" ? ["-h", addressOf(name)] : [];
  return spawnSync(program, [...own, ...words], { env: environment(services[name] as Service) }).status === 0;
}

test.skipIf(!has("redis-server"))(
  "the commands of docker-compose.yml, each run by itself (skipped where there is no redis-server): health checks pass, and rows travel",
  async () => {
    // In the order that they wait for each other in.
    for (const [name, service] of Object.entries(services)) {
      mkdirSync(join(folder.path, name));
      const [program = "", ...words] = commandOf(name, service);
      const child = spawn(program, words, { cwd: join(folder.path, name), env: environment(service), detached: true, stdio: "ignore" });
      tether(child);
      running.push(child);
      if (service.healthcheck) await until(() => isHealthy(name), { what: `${name} is healthy` });
    }
    const nodes = NAMES.filter((name) => services[name]?.environment?.["SCOUTSYNC_NAME"] === name);
    expect(nodes).toHaveLength(3);
    const app = (name: string) => join(folder.path, name, "app.db");
    for (const name of nodes) {
      const database = new DatabaseSync(app(name), { timeout: 10_000 });
      database.exec(`INSERT INTO note(body) VALUES('from ${name}')`);
      database.close();
    }
    await until(() => nodes.every((name) => selectOne(app(name), "SELECT count(*) FROM note") === 3n), { what: "all have three notes" });
    for (const child of running) expect(child.exitCode, child.spawnargs.join(" ")).toBeNull();
  },
);
