import { execFileSync, spawnSync } from "node:child_process";
import { cpSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { parse } from "yaml";
import { afterAll, describe, expect, test } from "vitest";
import { COORDINATOR_METRICS } from "@scoutsync/coordinator";
import { NODE_METRICS } from "@scoutsync/sync-node";
import { configurationReference } from "../../packages/cli/src/reference/configuration.ts";

const ROOT = fileURLToPath(new URL("../..", import.meta.url));
const read = (path: string) => readFileSync(join(ROOT, path), "utf8");
const has = (program: string) => spawnSync(program, ["--version"]).status === 0;

test("the configuration reference is what the schemas say (npm run reference)", () => {
  expect(read("docs/configuration.md")).toBe(configurationReference());
});

test("the Grafana dashboard shows metrics that there are", () => {
  const known = [...Object.values(COORDINATOR_METRICS), ...Object.values(NODE_METRICS)].map(({ name }): string => name);
  const { panels } = JSON.parse(read("deploy/grafana/scoutsync.json")) as { panels: { title: string; targets: { expr: string }[] }[] };
  expect(panels.length).toBeGreaterThan(10);
  for (const { title, targets } of panels) {
    for (const name of targets.flatMap(({ expr }) => expr.match(/scoutsync_[a-z_]+/g) ?? [])) {
      expect(known, title).toContain(name.replace(/_bucket$/, ""));
    }
  }
});

describe.skipIf(!has("systemd-analyze"))("systemd units", () => {
  const folder = mkdtempSync(join(tmpdir(), "scoutsync-units-"));
  afterAll(() => rmSync(folder, { recursive: true, force: true }));

  test.each(readdirSync(join(ROOT, "deploy/systemd")))("%s is one that systemd takes", (name) => {
    cpSync(join(ROOT, "deploy/systemd", name), join(folder, name));
    const text = readFileSync(join(folder, name), "utf8");
    // The program is not installed where the test runs.
    writeFileSync(join(folder, name), text.replaceAll("/opt/scoutsync/bin/scoutsync", "/bin/true"));
    const instance = name.replace("@.", "@one.");
    const { status, stderr } = spawnSync("systemd-analyze", ["verify", "--man=no", join(folder, instance)], { encoding: "utf8" });
    expect(stderr.split("\n").filter((line) => line.includes("scoutsync"))).toEqual([]);
    expect(status).toBe(0);
  });
});

interface Compose {
  services: Record<
    string,
    { healthcheck?: object; volumes?: string[]; image?: string; command?: string | string[]; environment?: Record<string, string> }
  >;
  volumes: Record<string, unknown>;
}

describe("docker-compose.yml", () => {
  const compose = parse(read("docker-compose.yml"), { merge: true }) as Compose;

  test("brings up Redis, a coordinator, two workers and three nodes, with volumes and health checks", () => {
    const { services } = compose;
    const commands = Object.entries(services).map(([name, { command = "" }]) => [name, [command].flat().join(" ")] as const);
    const running = (word: string) => commands.filter(([, command]) => command.includes(word)).map(([name]) => name);
    expect(running("scoutsync node")).toHaveLength(3);
    expect(commands.filter(([, command]) => command.startsWith("worker "))).toHaveLength(2);
    expect(commands.filter(([, command]) => command.startsWith("coordinator "))).toHaveLength(1);
    expect(running("noeviction")).toEqual(["redis"]);
    expect(running("--appendonly yes")).toEqual(["redis"]);
    for (const name of ["redis", "coordinator", ...running("scoutsync node")]) {
      expect(services[name]?.healthcheck, name).toBeDefined();
      expect(services[name]?.volumes?.length, name).toBeGreaterThan(0);
    }
    const mounted = Object.values(services).flatMap(({ volumes = [] }) => volumes.map((volume) => volume.split(":")[0]));
    expect(new Set(mounted)).toEqual(new Set(Object.keys(compose.volumes)));
  });

  test.skipIf(!has("docker-compose"))("is one that Debian's docker-compose takes", () => {
    const text = execFileSync("docker-compose", ["-f", join(ROOT, "docker-compose.yml"), "config"], { encoding: "utf8" });
    expect(Object.keys((parse(text) as Compose).services).sort()).toEqual(Object.keys(compose.services).sort());
  });

  test("every command that it gives is one that the program takes", () => {
    for (const [name, { command = "", image }] of Object.entries(compose.services)) {
      if (image?.startsWith("redis")) continue;
      const text = [command].flat().join(" ");
      const words = /scoutsync (\w+)/.exec(text)?.[1] ?? text.split(" ")[0] ?? "";
      const help = execFileSync(process.execPath, [join(ROOT, "packages/cli/src/main.ts"), words, "--help"], { encoding: "utf8" });
      for (const flag of text.match(/--[a-z-]+/g) ?? []) expect(help, `${name}: ${flag}`).toContain(flag);
    }
  });
});

test("the image holds every package's manifest before the install, and none that is not there", () => {
  const copied = [...read("Dockerfile").matchAll(/^COPY (\S+\/package\.json) /gm)].map((match) => match[1] ?? "");
  const there = ["packages", "services"].flatMap((folder) =>
    readdirSync(join(ROOT, folder)).map((name) => `${folder}/${name}/package.json`),
  );
  expect(copied.sort()).toEqual(there.sort());
  expect(read("Dockerfile")).toMatch(/^USER node$/m);
});
