import { globSync, readFileSync } from "node:fs";
import { fileURLToPath } from "node:url";
import { expect, test } from "vitest";

const ROOT = fileURLToPath(new URL("../..", import.meta.url));

/** What each room may import of ours; the picture is in the README. */
const MAY_IMPORT: Readonly<Record<string, readonly string[]>> = {
  "packages/core": [],
  "packages/runtime": [],
  "packages/protocol": ["core"],
  // Who belongs to a fleet: stands beside the calls it guards, and knows nothing of what they carry.
  "packages/trust": ["core", "protocol", "runtime"],
  // Says to a network who is there, and hears it: proves nothing, so it needs nothing of those who prove.
  "packages/discovery": ["runtime"],
  "packages/replica": ["core"],
  "packages/files": ["core"],
  "packages/session": ["core", "files", "protocol", "replica", "runtime"],
  "services/sync-node": ["core", "files", "protocol", "replica", "session", "runtime", "trust", "discovery"],
  "services/coordinator": ["core", "protocol", "runtime", "trust", "discovery"],
  "packages/cli": ["core", "files", "protocol", "replica", "runtime", "trust", "sync-node", "coordinator"],
  "packages/testkit": ["core", "protocol", "runtime", "scoutsync"],
};

interface SourceFile {
  path: string;
  room: string;
  text: string;
  imports: string[];
}

const files: SourceFile[] = globSync("{packages,services}/*/src/**/*.ts", { cwd: ROOT }).map((path) => {
  const text = readFileSync(`${ROOT}/${path}`, "utf8");
  return { path, room: path.split("/").slice(0, 2).join("/"), text, imports: importsOf(text) };
});

test("every room is known here", () => {
  expect(files.length).toBeGreaterThan(0);
  expect([...new Set(files.map(({ room }) => room))].filter((room) => !(room in MAY_IMPORT))).toEqual([]);
});

test("imports between rooms go one way", () => {
  const wrong = files.flatMap(({ path, room, imports }) =>
    imports
      .map(roomOf)
      .filter((target) => target !== null)
      .filter((target) => !(MAY_IMPORT[room] ?? []).includes(target) && !room.endsWith(`/${target}`))
      .map((target) => `${path} imports ${target}`),
  );
  expect(wrong).toEqual([]);
});

test("rooms are entered by their names, never by a path into them", () => {
  const wrong = files.flatMap(({ path, imports }) => {
    const depth = path.split("/").length - 3;
    return imports
      .filter((one) => one.startsWith("../".repeat(depth + 1)) && !one.includes("/gen/"))
      .map((one) => `${path} imports ${one}`);
  });
  expect(wrong).toEqual([]);
});

test("the core is pure: no I/O and no clock of its own", () => {
  const allowed = new Set(["node:crypto", "node:zlib", "node:buffer"]);
  const core = files.filter(({ room }) => room === "packages/core");
  expect(
    core.flatMap(({ path, imports }) =>
      imports.filter((one) => one.startsWith("node:") && !allowed.has(one)).map((one) => `${path} imports ${one}`),
    ),
  ).toEqual([]);
  expect(
    core.filter(({ text }) => /\b(Date\.now|performance\.now|Math\.random|setTimeout|setInterval)\b/.test(text)).map(({ path }) => path),
  ).toEqual([]);
});

test("only main.ts reads arguments and environment", () => {
  const wrong = files
    .filter(({ path, room }) => room !== "packages/testkit" && !path.endsWith("/main.ts"))
    .filter(({ text }) => /\bprocess\.(argv|env)\b/.test(text))
    .map(({ path }) => path);
  expect(wrong).toEqual([]);
});

test("user databases are opened by the replica alone, the registry by the coordinator alone", () => {
  const users = files.filter(({ imports }) => imports.includes("better-sqlite3")).map(({ room, path }) => ({ room, path }));
  // A file root's manifest is a database of its own, in the node's data folder; the root's folder holds none that is opened,
  // but for an empty one in its store: the lock that one node has on it.
  expect(
    users.filter(
      ({ room, path }) =>
        room !== "packages/replica" &&
        room !== "services/coordinator" &&
        !["packages/files/src/manifest/manifest.ts", "packages/files/src/store/root-lock.ts"].includes(path),
    ),
  ).toEqual([]);
  const registry = users.filter(
    ({ room, path }) => room === "services/coordinator" && !path.startsWith("services/coordinator/src/registry/"),
  );
  expect(registry).toEqual([]);
});

test("names avoid words that say nothing", () => {
  const hollow = /(^|[/-])(helpers?|managers?|utils?|common|data|info|handles?)([-.]|$)/;
  expect(
    files
      .map(({ path }) => path)
      .filter((path) =>
        path
          .split("/")
          .slice(2)
          .some((part) => hollow.test(part)),
      ),
  ).toEqual([]);
});

function importsOf(text: string): string[] {
  const found = text.matchAll(
    /(?:^|\n)\s*(?:import|export)\b[^"';]*?from\s*["']([^"']+)["']|(?:^|\n)\s*import\s*["']([^"']+)["']|\bimport\(\s*["']([^"']+)["']\s*\)/g,
  );
  return [...found].map((match) => match[1] ?? match[2] ?? match[3] ?? "");
}

function roomOf(specifier: string): string | null {
  const ours = /^@scoutsync\/([^/]+)/.exec(specifier);
  if (ours) return ours[1] ?? null;
  return specifier === "scoutsync" ? "scoutsync" : null;
}
