import { execFileSync } from "node:child_process";
import { createHash } from "node:crypto";
import { mkdirSync, readFileSync, readdirSync, renameSync, rmSync, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { createDatabase, Fleet, scoutsync, startWriter, type FleetNode } from "@scoutsync/testkit";
import { afterEach, beforeEach, expect, test } from "vitest";

interface SyncDocument {
  success: boolean;
  verified: boolean;
  stats: { files_uploaded: number; files_downloaded: number; bytes_sent: number; bytes_received: number; conflicts: number };
  errors: { code: string; message: string }[];
}

let fleet: Fleet;
let a: FleetNode;
let b: FleetNode;
let roots: { a: string; b: string };
beforeEach(async () => {
  fleet = new Fleet("files");
  roots = { a: fleet.path("a", "uploads"), b: fleet.path("b", "uploads") };
  for (const root of Object.values(roots)) mkdirSync(root, { recursive: true });
  a = await fleet.node({ name: "a", databases: {}, flags: ["--files", `uploads=${roots.a}`] });
  b = await fleet.node({ name: "b", databases: {}, flags: ["--files", `uploads=${roots.b}`] });
});
afterEach(() => fleet.stop());

async function sync(from = a, to = b): Promise<SyncDocument> {
  const done = await fleet.sync(from, to);
  expect(done.code, done.stdout + done.stderr).toBe(0);
  return done.json<SyncDocument>();
}

function write(root: string, path: string, text: string): string {
  mkdirSync(dirname(join(root, path)), { recursive: true });
  writeFileSync(join(root, path), text);
  return createHash("sha256").update(text).digest("hex");
}

/** Path and SHA-256 of every file below, the store aside. */
function contents(root: string): Record<string, string> {
  const paths = readdirSync(root, { recursive: true, withFileTypes: true })
    .filter((one) => one.isFile() && !one.parentPath.includes(".scoutsync-store"))
    .map((one) => join(one.parentPath, one.name));
  return Object.fromEntries(
    paths.sort().map((path) => [path.slice(root.length + 1), createHash("sha256").update(readFileSync(path)).digest("hex")]),
  );
}

/** Hashes of everything that is in a root or its store. */
function kept(root: string): Set<string> {
  const found = readdirSync(root, { recursive: true, withFileTypes: true }).filter((one) => one.isFile());
  return new Set(
    found.map((one) =>
      createHash("sha256")
        .update(readFileSync(join(one.parentPath, one.name)))
        .digest("hex"),
    ),
  );
}

test("files, folders, renames and deletes travel both ways, and a second sync moves nothing", async () => {
  write(roots.a, "robots/254.txt", "from a");
  write(roots.b, "teams/blue alliance.txt", "from b");
  mkdirSync(join(roots.b, "empty"));
  const first = await sync();
  expect(first).toMatchObject({ verified: true, stats: { files_uploaded: 1, files_downloaded: 1 } });
  expect(contents(roots.a)).toEqual(contents(roots.b));
  expect(readdirSync(join(roots.a, "empty"))).toEqual([]);
  expect((await sync()).stats).toMatchObject({ files_uploaded: 0, files_downloaded: 0, bytes_sent: 0, bytes_received: 0 });

  renameSync(join(roots.b, "robots", "254.txt"), join(roots.b, "robots", "cheesy.txt"));
  rmSync(join(roots.a, "teams"), { recursive: true });
  const second = await sync();
  expect(second).toMatchObject({ verified: true, stats: { files_uploaded: 0, files_downloaded: 0, bytes_sent: 0, bytes_received: 0 } });
  for (const root of Object.values(roots)) {
    expect(Object.keys(contents(root))).toEqual(["robots/cheesy.txt"]);
    expect(
      readdirSync(root)
        .filter((name) => !name.startsWith(".scoutsync"))
        .sort(),
    ).toEqual(["empty", "robots"]);
  }
  const verified = await scoutsync(["verify", a.address, b.address, "--json"]);
  expect(verified.code, verified.stdout).toBe(0);
  execFileSync("diff", ["-r", "-x", ".scoutsync-store", roots.a, roots.b]);

  // What either of the two leaves alone is told, whichever is asked.
  createDatabase(join(roots.b, "live.db"), "CREATE TABLE t(x)");
  await sync();
  for (const order of [
    [a, b],
    [b, a],
  ] as const) {
    const told = await scoutsync(["verify", ...order.map(({ address }) => address), "--json"]);
    expect(told.json()).toMatchObject({ equal: true, files: [{ left_alone: [{ path: "live.db", node: b.address }] }] });
  }
});

test("of two edits at once both are kept: one has the name, the other is listed on both nodes and can be chosen", async () => {
  write(roots.a, "app.json", "{}");
  await sync();
  const versions = [write(roots.a, "app.json", '{"from":"a"}')];
  versions.push(write(roots.b, "app.json", '{"from":"b"}'));
  await sync();
  expect(contents(roots.a)).toEqual(contents(roots.b));
  for (const root of Object.values(roots)) for (const hash of versions) expect([...kept(root)]).toContain(hash);
  const list = async (node: FleetNode) =>
    (await scoutsync(["review", "list", node.address, "--kind", "file", "--json"])).json<
      { id: string; key: string; loser: { value: string } }[]
    >();
  const [onA, onB] = [await list(a), await list(b)];
  expect(onA).toEqual(onB);
  expect(onA).toMatchObject([{ key: "app.json" }]);
  const loser = onA[0]?.loser.value ?? "";
  expect(versions).toContain(loser);
  const resolved = await scoutsync(["review", "resolve", b.address, onA[0]?.id ?? "", "--keep", "loser", "--json"]);
  expect(resolved.code, resolved.stderr).toBe(0);
  await sync();
  expect(contents(roots.a)).toEqual({ "app.json": loser });
  expect(contents(roots.b)).toEqual({ "app.json": loser });
  expect(await list(a)).toEqual([]);
  expect(await list(b)).toEqual([]);
});

test("a deleted file comes back with one command, on every server", async () => {
  const hash = write(roots.a, "match/q1.csv", "red,blue");
  await sync();
  rmSync(join(roots.a, "match/q1.csv"));
  await sync();
  expect(contents(roots.b)).toEqual({});
  const restored = await scoutsync(["files", "restore", b.address, "uploads", "match/q1.csv", "--json"]);
  expect(restored.code, restored.stderr).toBe(0);
  await sync();
  expect(contents(roots.a)).toEqual({ "match/q1.csv": hash });
  expect(contents(roots.b)).toEqual({ "match/q1.csv": hash });
});

test("a row that names a file is reported until that file's bytes are here", async () => {
  const [pathA, pathB] = ["a", "b"].map((name) => {
    const path = fleet.path(name, "app.db");
    return createDatabase(path, "CREATE TABLE user(id INTEGER PRIMARY KEY, picture TEXT)");
  }) as [string, string];
  const flags = (root: string) => ["--files", `uploads=${root}`, "--row-files", "app.user.picture=uploads/faces"];
  const [rootA, rootB] = [fleet.path("c", "uploads"), fleet.path("d", "uploads")];
  for (const root of [rootA, rootB]) mkdirSync(root);
  const c = await fleet.node({ name: "c", databases: { app: pathA }, flags: flags(rootA) });
  const d = await fleet.node({ name: "d", databases: { app: pathB }, flags: flags(rootB) });
  const writer = startWriter();
  try {
    await writer.write({
      path: pathA,
      statements: [["INSERT INTO user(picture) VALUES ('1.jpg'), (NULL), (''), ('../../etc/passwd')", []]],
    });
  } finally {
    await writer.stop();
  }
  write(rootA, "faces/1.jpg", "a face");
  const unmet = async (node: FleetNode) =>
    (await scoutsync(["files", "status", node.address, "--json"]))
      .json<{ unmet: { path: string; reason: string }[] }[]>()
      .flatMap((root) => root.unmet)
      .sort((x, y) => (x.path < y.path ? -1 : 1));
  expect(await unmet(c)).toMatchObject([{ path: "faces/../../etc/passwd", reason: expect.stringMatching(/can name no file/) }]);
  expect((await fleet.sync(d, c, "--no-files")).code).toBe(0);
  const [, face] = await unmet(d);
  expect(face).toEqual({ path: "faces/1.jpg", reason: "is not here yet; app.user.picture names it" });
  const verified = await scoutsync(["verify", d.address, c.address, "--json"]);
  expect(verified.json<{ files: { unmet: object[] }[] }>().files[0]?.unmet).toHaveLength(2);
  await sync(d, c);
  expect(await unmet(d)).toHaveLength(1);
  rmSync(join(rootB, "faces"), { recursive: true });
  await sync(d, c);
  expect(await unmet(c)).toContainEqual({ path: "faces/1.jpg", reason: "was deleted; app.user.picture names it" });
});

test("a column that names files and is kept from view names them to nobody", async () => {
  const path = createDatabase(
    fleet.path("e", "app.db"),
    "CREATE TABLE user(id INTEGER PRIMARY KEY, picture TEXT); INSERT INTO user VALUES (1, 'ada-lovelace.jpg')",
  );
  const root = fleet.path("e", "uploads");
  mkdirSync(root);
  const flags = ["--files", `uploads=${root}`, "--row-files", "app.user.picture=uploads", "--sensitive", "app.User.Picture"];
  const e = await fleet.node({ name: "e", databases: { app: path }, flags });
  for (const command of [
    ["files", "status", e.address],
    ["files", "status", e.address, "--json"],
    ["verify", e.address, a.address, "--json"],
  ]) {
    const said = await scoutsync(command);
    expect(said.stdout + said.stderr).not.toMatch(/lovelace/);
    expect(said.stdout).toMatch(/\(sensitive\).*app\.user\.picture names it|app\.user\.picture names it.*/);
  }
});

test("a session without files leaves them alone, and ping says how far a root is", async () => {
  write(roots.a, "x", "1");
  const done = await fleet.sync(a, b, "--no-files");
  expect(done.code).toBe(1);
  expect(contents(roots.b)).toEqual({});
  const pinged = await scoutsync(["ping", a.address, "--json"]);
  expect(pinged.json<{ files: object[] }>().files).toMatchObject([{ root: "uploads", cursor: expect.stringMatching(/^\w{16}:\d+$/) }]);
});
