import { execFileSync, spawn } from "node:child_process";
import { createHash, randomBytes } from "node:crypto";
import { once } from "node:events";
import {
  appendFileSync,
  type BigIntStats,
  chmodSync,
  closeSync,
  cpSync,
  existsSync,
  linkSync,
  mkdirSync,
  openSync,
  readFileSync,
  readdirSync,
  renameSync,
  rmSync,
  statSync,
  statfsSync,
  symlinkSync,
  utimesSync,
  writeFileSync,
  writeSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setImmediate as turn, setTimeout as pause } from "node:timers/promises";
import { createDatabase, temporaryFolder } from "@scoutsync/testkit";
import Database from "better-sqlite3";
import { afterEach, beforeEach, expect, test } from "vitest";
import { diagnoseRoot } from "../src/index.ts";
import { Folder } from "../src/paths/folder.ts";
import { DiskClock } from "../src/scan/disk-clock.ts";
import { openSite, pull, sync, type Site } from "./exchange.ts";

const MIB = 1024 * 1024;

let folder: { path: string; remove(): void };
let a: Site;
let b: Site;
beforeEach(async () => {
  folder = temporaryFolder("care");
  [a, b] = [await openSite(folder.path, "a"), await openSite(folder.path, "b")];
});
afterEach(async () => {
  await Promise.all([a.engine.close(), b.engine.close()]);
  folder.remove();
});

const write = (site: Site, path: string, text: string) => writeFileSync(join(site.root, path), text);
const read = (site: Site, path: string) => readFileSync(join(site.root, path), "utf8");

test("most of a root missing at once is held back, and undone: the other node keeps its files and gives them back", async () => {
  for (let n = 0; n < 60; n++) write(a, `f${n}`, `file ${n}`);
  await sync(a, b);
  for (let n = 0; n < 40; n++) rmSync(join(a.root, `f${n}`));
  await sync(a, b);
  await sync(a, b);
  expect(a.engine.state()).toMatchObject({ brake: { files: 40, of: 60 } });
  expect(readdirSync(b.root)).toHaveLength(61);
  const [review] = await a.engine.reviews();
  await expect(a.engine.resolve(review!.id, "winner")).rejects.toMatchObject({ code: "INVALID_ARGUMENT" });
  expect(await a.engine.resolve(review!.id, "undo")).toMatchObject({ resolved: true });
  await sync(a, b);
  expect(readdirSync(a.root)).toHaveLength(61);
  expect(read(a, "f7")).toBe("file 7");
  expect(a.engine.state()).toMatchObject({ brake: null, missing: 0, wanted: 0 });
});

test("a mass delete that is released goes everywhere, into the store", async () => {
  for (let n = 0; n < 60; n++) write(a, `f${n}`, `file ${n}`);
  await sync(a, b);
  for (let n = 0; n < 40; n++) rmSync(join(a.root, `f${n}`));
  await sync(a, b);
  const [review] = await a.engine.reviews();
  await a.engine.resolve(review!.id, "release");
  await sync(a, b);
  expect(readdirSync(b.root)).toHaveLength(21);
  await b.engine.restore("f7", "");
  expect(read(b, "f7")).toBe("file 7");
});

test("renaming most of a root is no mass delete", async () => {
  mkdirSync(join(a.root, "old"));
  for (let n = 0; n < 60; n++) write(a, `old/f${n}`, `file ${n}`);
  await sync(a, b);
  execFileSync("mv", [join(a.root, "old"), join(a.root, "new")]);
  const [, up] = await sync(a, b);
  expect(up.bytes).toBe(0);
  expect(readdirSync(b.root).sort()).toEqual([".scoutsync-store", "new"]);
});

test("other bytes under the same time are not spread: they go into the store, and the file comes back from the other node", async () => {
  write(a, "x.bin", "the right bytes");
  await sync(a, b);
  const [file, twin] = [join(a.root, "x.bin"), join(folder.path, "twin")];
  // The very nanoseconds, which no call of Node's can set.
  execFileSync("touch", ["-r", file, twin]);
  // Settled: looked at again when nothing about it was fresh any more.
  await new Promise((resolve) => setTimeout(resolve, 150));
  await a.engine.scan({});
  const fd = openSync(file, "r+");
  writeSync(fd, "rotten", 0);
  closeSync(fd);
  execFileSync("touch", ["-r", twin, file]);
  await a.engine.scan({ deep: true });
  expect(a.engine.state().wanted).toBe(1);
  expect(await a.engine.reviews()).toMatchObject([{ key: "x.bin", kind: "file" }]);
  await sync(a, b);
  expect([read(a, "x.bin"), read(b, "x.bin")]).toEqual(["the right bytes", "the right bytes"]);
  const stored = await a.engine.versions("x.bin");
  expect(stored).toHaveLength(1);
  expect(a.engine.state().wanted).toBe(0);
});

test("what a long write had come to when it was looked at is not what the file goes back to: it has the time of the write's beginning", async () => {
  write(a, "x", "as far as ");
  await new Promise((resolve) => setTimeout(resolve, 150));
  await sync(a, b);
  const [file, twin] = [join(a.root, "x"), join(folder.path, "twin")];
  execFileSync("touch", ["-r", file, twin]);
  appendFileSync(file, "the very end");
  execFileSync("touch", ["-r", twin, file]);
  await sync(a, b);
  expect([read(a, "x"), read(b, "x")]).toEqual(["as far as the very end", "as far as the very end"]);
});

test("what cannot be read is not deleted, and links and devices are left alone", async () => {
  mkdirSync(join(a.root, "d"));
  write(a, "d/x", "1");
  await sync(a, b);
  execFileSync("mkfifo", [join(a.root, "pipe")]);
  symlinkSync("/etc/passwd", join(a.root, "link"));
  writeFileSync(Buffer.concat([Buffer.from(`${a.root}/`), Buffer.from([0x66, 0xff])]), "no UTF-8");
  await sync(a, b);
  expect((await a.engine.status()).remarks.map(({ kind }) => kind).sort()).toEqual(["kind", "kind", "name"]);
  expect(readdirSync(b.root).sort()).toEqual([".scoutsync-store", "d"]);
  expect(existsSync(join(a.root, "pipe"))).toBe(true);
});

test("what lies too deep to travel is left alone and named where it lies, and not offered to others for ever", async () => {
  const deep = Array.from({ length: 20 }, () => "d".repeat(60)).join("/");
  mkdirSync(join(a.root, deep), { recursive: true });
  write(a, `${deep}/x`, "too deep");
  write(a, "y", "in reach");
  const [, up] = await sync(a, b);
  expect(up.refused).toEqual([]);
  expect((await a.engine.status()).remarks).toMatchObject([{ path: deep.slice(0, 17 * 61 - 1), kind: "name" }]);
  expect([read(a, `${deep}/x`), read(b, "y")]).toEqual(["too deep", "in reach"]);
  expect(a.engine.state().digest).toBe(b.engine.state().digest);
});

test("a database in a root is never opened, copied or deleted, whatever it is called", async () => {
  const named = createDatabase(join(a.root, "app.db"), "CREATE TABLE t(x)");
  createDatabase(join(a.root, "Cookies"), "CREATE TABLE t(x)");
  await a.engine.close();
  a = await openSite(folder.path, "a", {}, { databases: [join(a.root, "plain")] });
  createDatabase(join(a.root, "plain"), "PRAGMA journal_mode = WAL; CREATE TABLE t(x)");
  await sync(a, b);
  expect(readdirSync(b.root)).toEqual([".scoutsync-store"]);
  const left = (await a.engine.status()).remarks.map(({ path }) => path).sort();
  expect(left).toEqual(expect.arrayContaining(["Cookies", "app.db", "plain"]));
  expect(existsSync(named)).toBe(true);
});

test("no journal comes beside another node's database of that name, which would be rolled back by it, and none leaves", async () => {
  createDatabase(join(a.root, "Cookies"), "CREATE TABLE t(x)");
  write(a, "Cookies-journal", "of the database beside it");
  write(a, "lab-journal", "of nobody here");
  write(a, "notes", "no database");
  write(a, "notes-journal", "a file like any other");
  const lab = createDatabase(join(b.root, "lab"), "CREATE TABLE t(x)");
  const [, up] = await sync(a, b);
  expect(up.refused).toMatchObject([{ path: "lab-journal", code: "FILE_BLOCKED", retry: true }]);
  expect(readdirSync(b.root).sort()).toEqual([".scoutsync-store", "lab", "notes", "notes-journal"]);
  const remarks = (await a.engine.status()).remarks.map(({ path, reason }) => `${path} ${reason}`).sort();
  expect(remarks).toEqual(["Cookies a database is synced as rows (--db), not as a file", "Cookies-journal belongs to a database"]);
  rmSync(lab);
  await sync(a, b);
  expect(read(b, "lab-journal")).toBe("of nobody here");
});

test("a cut transfer goes on where it was, and a changed start begins anew", async () => {
  const bytes = Buffer.alloc(3_000_000, "abcdefg");
  writeFileSync(join(a.root, "large"), bytes);
  await a.engine.scan({});
  const { hash, size } = await a.engine.locate("large");
  await b.engine.begin(hash, size);
  await b.engine.write(hash, 0, bytes.subarray(0, 1_000_000));
  await b.engine.close();
  b = await openSite(folder.path, "b");
  expect(await b.engine.begin(hash, size)).toBe(1_000_000);
  await b.engine.leave(hash);
  const moved = await pull(b.engine, a.engine, "a");
  expect(moved.bytes).toBe(2_000_000);
  expect(readFileSync(join(b.root, "large")).equals(bytes)).toBe(true);
});

test("a folder that is another one deletes nothing until a person says that it is the root; then both are one", async () => {
  write(a, "x", "1");
  await sync(a, b);
  rmSync(a.root, { recursive: true });
  mkdirSync(a.root);
  write(a, "y", "2");
  await expect(a.engine.scan({ confirm: true })).rejects.toMatchObject({ code: "ROOT_UNAVAILABLE" });
  expect(a.engine.state().problemCode).toBe("ROOT_UNAVAILABLE");
  expect(readdirSync(a.root)).toEqual(["y"]);
  const [review] = await a.engine.reviews();
  await a.engine.resolve(review!.id, "release");
  await sync(a, b);
  for (const site of [a, b]) expect(readdirSync(site.root).sort()).toEqual([".scoutsync-store", "x", "y"]);
});

test("an edit that nobody has looked at yet is the other side of a conflict, not overwritten", async () => {
  write(a, "x", "1");
  await sync(a, b);
  write(a, "x", "from a");
  await a.engine.scan({});
  write(b, "x", "from b, unseen");
  await pull(b.engine, a.engine, "a");
  const held = [read(b, "x"), ...(await b.engine.versions("x")).map(({ hash }) => hash)];
  expect(held.length).toBeGreaterThan(1);
  expect(await b.engine.reviews()).toMatchObject([{ key: "x" }]);
});

test("a version that a program writes between the two steps of a replacement stays, and what it replaced is in the store", async () => {
  write(a, "x", "1");
  await sync(a, b);
  await b.engine.close();
  let isFirst = true;
  b = await openSite(folder.path, "b", {
    reached: (step) => {
      if (step !== "old file moved" || !isFirst) return;
      isFirst = false;
      write(b, "x", "written this very moment");
    },
  });
  write(a, "x", "from a");
  await a.engine.scan({});
  await pull(b.engine, a.engine, "a");
  expect(isFirst).toBe(false);
  expect(read(b, "x")).toBe("written this very moment");
  expect(await b.engine.reviews()).toMatchObject([{ key: "x" }]);
  await sync(a, b);
  expect(read(a, "x")).toBe("written this very moment");
});

test.each(["one name", "another name elsewhere"])("a large file with %s keeps its name while it is read to be replaced", async (names) => {
  const [first, second] = [Buffer.alloc(80 * MIB, 1), Buffer.alloc(80 * MIB, 2)];
  writeFileSync(join(a.root, "x"), first);
  await sync(a, b);
  if (names !== "one name") linkSync(join(b.root, "x"), join(folder.path, "elsewhere"));
  await pause(150);
  writeFileSync(join(a.root, "x"), second);
  await a.engine.scan({});
  const pulled = pull(b.engine, a.engine, "a");
  let isOver = false;
  void pulled.finally(() => (isOver = true)).catch(() => {});
  // Whoever opens it whenever the node gives the thread away.
  let [opened, missing] = [0, 0];
  while (!isOver) {
    try {
      closeSync(openSync(join(b.root, "x"), "r"));
      opened++;
    } catch {
      missing++;
    }
    await turn();
  }
  await pulled;
  expect(opened).toBeGreaterThan(0);
  expect(missing).toBe(0);
  expect(readFileSync(join(b.root, "x")).equals(second)).toBe(true);
  const [stored] = await b.engine.versions("x");
  expect(stored).toMatchObject({ hash: createHash("sha256").update(first).digest("hex"), size: first.length, why: "replaced" });
  const elsewhere = names === "one name" ? [] : [readFileSync(join(folder.path, "elsewhere"))];
  expect(elsewhere.every((bytes) => bytes.equals(first))).toBe(true);
});

test.each(["written to", "replaced"])("a large file that is %s after it was read to be replaced is an edit, and stays", async (how) => {
  writeFileSync(join(a.root, "x"), Buffer.alloc(2 * MIB, 1));
  await sync(a, b);
  await pause(150);
  await b.engine.close();
  const edited = Buffer.alloc(2 * MIB, 3);
  let isFirst = true;
  b = await openSite(folder.path, "b", {
    reached: (step) => {
      // The very file, which has left its name this moment; or another one in its place.
      if (step !== "old file moved" || !isFirst) return;
      isFirst = false;
      const store = join(b.root, ".scoutsync-store", "objects");
      if (how === "replaced") writeFileSync(join(b.root, "x"), edited);
      else for (const name of readdirSync(store)) writeFileSync(join(store, name), edited);
    },
  });
  writeFileSync(join(a.root, "x"), Buffer.alloc(2 * MIB, 2));
  await a.engine.scan({});
  await pull(b.engine, a.engine, "a");
  expect(isFirst).toBe(false);
  expect(readFileSync(join(b.root, "x")).equals(edited)).toBe(true);
  expect(await b.engine.reviews()).toMatchObject([{ key: "x" }]);
});

test.each(["journal written", "old file moved", "file linked", "names changed", "folders durable", "manifest written"])(
  "a process that dies when it has %s leaves a whole version under the name, and the next one goes on",
  async (step) => {
    write(a, "x", "1");
    await sync(a, b);
    await b.engine.close();
    b = await openSite(folder.path, "b", {
      reached: (reached) => {
        if (reached === step) throw new Error("the process dies");
      },
    });
    write(a, "x", "2");
    await a.engine.scan({});
    await expect(pull(b.engine, a.engine, "a")).rejects.toThrow("the process dies");
    await b.engine.close().catch(() => {});
    b = await openSite(folder.path, "b");
    expect(["1", "2"]).toContain(read(b, "x"));
    await sync(a, b);
    expect(read(b, "x")).toBe("2");
    expect((await b.engine.versions("x")).map(({ why }) => why)).toEqual(["replaced"]);
    expect(readdirSync(join(b.root, ".scoutsync-store", "staging"))).toEqual([]);
  },
);

test("a step that fails in the middle is finished or undone before anything else happens: no absence is taken for a delete", async () => {
  for (const name of ["x", "y", "z"]) write(a, name, `${name} 1`);
  await sync(a, b);
  await b.engine.close();
  let moves = 0;
  b = await openSite(folder.path, "b", {
    reached: (step) => {
      // No crash: the same process goes on, as after an error of the disk.
      if (step === "old file moved" && ++moves === 2) throw new Error("the disk fails once");
    },
  });
  for (const name of ["x", "y", "z"]) write(a, name, `${name} 2`);
  await a.engine.scan({});
  await expect(pull(b.engine, a.engine, "a")).rejects.toThrow("the disk fails once");
  await b.engine.scan({ confirm: true });
  expect(b.engine.state()).toMatchObject({ missing: 0, files: 3 });
  for (const name of ["x", "y", "z"]) expect([`${name} 1`, `${name} 2`]).toContain(read(b, name));
  await sync(a, b);
  for (const name of ["x", "y", "z"]) {
    expect(read(b, name)).toBe(`${name} 2`);
    expect((await b.engine.versions(name)).map(({ size }) => size)).toEqual([3]);
  }
});

test("a folder that a program puts in the place of a file at the last moment goes back with what is in it", async () => {
  write(a, "x", "1");
  await sync(a, b);
  await b.engine.close();
  let look: unknown = null;
  b = await openSite(folder.path, "b", {
    reached: (step) => {
      if (step !== "journal written" || look !== null) return;
      look = Folder.prototype.look;
      // Between the look at the name and its move, which no program can time: made one here.
      Folder.prototype.look = function (this: Folder, name) {
        const stats = (look as typeof Folder.prototype.look).call(this, name);
        if (name === "x" && stats?.isFile()) {
          Folder.prototype.look = look as typeof Folder.prototype.look;
          rmSync(join(b.root, "x"));
          mkdirSync(join(b.root, "x"));
          write(b, "x/precious", "in the folder");
        }
        return stats;
      };
    },
  });
  write(a, "x", "2");
  await a.engine.scan({});
  await pull(b.engine, a.engine, "a");
  expect(read(b, "x/precious")).toBe("in the folder");
  await sync(a, b);
  await sync(a, b);
  expect(read(a, "x/precious")).toBe("in the folder");
});

test.each(["renames over", "writes into"])(
  "a version that a program %s one that was just placed is an edit of it, whatever its time says",
  async (how) => {
    write(a, "x", "1");
    await sync(a, b);
    await b.engine.close();
    let isFirst = true;
    b = await openSite(folder.path, "b", {
      // As if everything had been written long ago: nothing is too fresh to tell.
      diskClock: new DiskClock(() => Date.now() + 3_600_000),
      reached: (step) => {
        if (step !== "file linked" || !isFirst) return;
        isFirst = false;
        const path = how === "renames over" ? "x.tmp" : "x";
        write(b, path, "saved this moment");
        // As programs do that copy times as well.
        if (how === "writes into") utimesSync(join(b.root, path), 1_000_000_000, 1_000_000_000);
        else renameSync(join(b.root, path), join(b.root, "x"));
      },
    });
    write(a, "x", "2");
    await a.engine.scan({});
    await pull(b.engine, a.engine, "a");
    await b.engine.scan({});
    await sync(a, b);
    expect([read(a, "x"), read(b, "x")]).toEqual(["saved this moment", "saved this moment"]);
    expect((await a.engine.versions("x")).map(({ size }) => size)).toEqual([1]);
  },
);

test.each(["goes on", "dies, and begins again"])(
  "a version that a program saves over at the moment when it is back under its name stays in the store, where the process %s",
  async (what) => {
    write(a, "x", "1");
    await sync(a, b);
    await b.engine.close();
    const saveOver = (text: string) => {
      write(b, "x.tmp", text);
      renameSync(join(b.root, "x.tmp"), join(b.root, "x"));
    };
    let isFirst = true;
    let restored = () => {};
    b = await openSite(folder.path, "b", {
      reached: (step) => {
        if (step !== "old file put back" || !isFirst) return;
        isFirst = false;
        if (what !== "goes on") throw new Error("the process dies");
        saveOver("saved over it");
        // Its name in the store is the last one: there it stays, and needs no room.
        const { write: copy } = Folder.prototype;
        Folder.prototype.write = () => {
          throw Object.assign(new Error("no space left on device"), { code: "ENOSPC" });
        };
        restored = () => void (Folder.prototype.write = copy);
      },
    });
    write(b, "x", "not looked at yet");
    write(a, "x", "2, from a");
    await a.engine.scan({});
    const died = await pull(b.engine, a.engine, "a").then(
      () => false,
      () => true,
    );
    restored();
    expect([isFirst, died]).toEqual([false, what !== "goes on"]);
    if (died) {
      await b.engine.close().catch(() => {});
      const { remove } = Folder.prototype;
      // Between the look at the two names and the end of the store's, which no program can time: made one here.
      Folder.prototype.remove = function (this: Folder, name) {
        Folder.prototype.remove = remove;
        saveOver("saved over it");
        remove.call(this, name);
      };
      b = await openSite(folder.path, "b");
    }
    await sync(a, b);
    for (const text of ["not looked at yet", "saved over it"]) {
      const hash = createHash("sha256").update(text).digest("hex");
      expect(Buffer.from(await b.engine.read(hash, 0, 100)).toString()).toBe(text);
    }
  },
);

test.each(["1", "not looked at yet"])("what was displaced can be had where its folder goes at that moment: %s", async (text) => {
  mkdirSync(join(a.root, "d"));
  write(a, "d/x", "1");
  await sync(a, b);
  await b.engine.close();
  b = await openSite(folder.path, "b", {
    reached: (step) => {
      if (step === "old file moved") rmSync(join(b.root, "d"), { recursive: true, force: true });
    },
  });
  write(b, "d/x", text);
  write(a, "d/x", "2, from a");
  await a.engine.scan({});
  await pull(b.engine, a.engine, "a");
  const hash = createHash("sha256").update(text).digest("hex");
  expect(Buffer.from(await b.engine.read(hash, 0, 100)).toString()).toBe(text);
});

test("a file that may get no second name goes back under its own all the same, and is not taken for a deleted one", async () => {
  write(a, "x", "1");
  write(a, "y", "1");
  await sync(a, b);
  // Another user's, on Linux; any, on file systems without links. Those that run as root may link everything.
  const { linkTo } = Folder.prototype;
  Folder.prototype.linkTo = () => {
    throw Object.assign(new Error("EPERM: operation not permitted, link"), { code: "EPERM" });
  };
  try {
    write(b, "x", "not looked at yet");
    for (const path of ["x", "y"]) write(a, path, "2, from a");
    await a.engine.scan({});
    await pull(b.engine, a.engine, "a");
    await b.engine.scan({ confirm: true });
    expect([read(b, "x"), read(b, "y")]).toEqual(["not looked at yet", "1"]);
    expect(b.engine.state()).toMatchObject({ files: 2, missing: 0 });
  } finally {
    Folder.prototype.linkTo = linkTo;
  }
  await sync(a, b);
  expect([read(b, "x"), read(b, "y")]).toEqual(["2, from a", "2, from a"]);
  expect((await b.engine.versions("x")).map(({ size }) => size)).toContain(17);
});

test("nothing else happens in a root while a file cannot go back under its name, which would count as deleted", async () => {
  write(a, "x", "1");
  await sync(a, b);
  const { linkTo, moveTo } = Folder.prototype;
  const refuse = (newName: string) => {
    if (newName === "x") throw Object.assign(new Error("EACCES: permission denied"), { code: "EACCES" });
  };
  Folder.prototype.linkTo = function (this: Folder, ...given) {
    refuse(given[2]);
    linkTo.apply(this, given);
  };
  Folder.prototype.moveTo = function (this: Folder, ...given) {
    refuse(given[2]);
    moveTo.apply(this, given);
  };
  try {
    write(b, "x", "not looked at yet");
    write(a, "x", "2, from a");
    await a.engine.scan({});
    await expect(pull(b.engine, a.engine, "a")).rejects.toMatchObject({ code: "ROOT_UNAVAILABLE" });
    await expect(b.engine.scan({ confirm: true })).rejects.toMatchObject({ code: "ROOT_UNAVAILABLE" });
    expect(b.engine.state()).toMatchObject({ problemCode: "ROOT_UNAVAILABLE", files: 1 });
  } finally {
    Object.assign(Folder.prototype, { linkTo, moveTo });
  }
  await b.engine.scan({ confirm: true });
  expect(read(b, "x")).toBe("not looked at yet");
  expect(b.engine.state()).toMatchObject({ problemCode: "", files: 1, missing: 0 });
});

test("bytes that a crash left in the store without a word in the manifest can be had by their hash", async () => {
  write(a, "x", "1");
  await a.engine.scan({});
  writeFileSync(join(a.root, ".scoutsync-store", "objects", "left"), "nobody knows of these");
  const hash = createHash("sha256").update("nobody knows of these").digest("hex");
  await a.engine.close();
  a = await openSite(folder.path, "a");
  await a.engine.restore("back", hash);
  expect(read(a, "back")).toBe("nobody knows of these");
});

test("a file restored from bytes that came and could not be placed goes to the others", async () => {
  mkdirSync(join(a.root, "d"));
  write(a, "d/x", "deleted everywhere by now");
  symlinkSync(folder.path, join(b.root, "d"));
  await sync(a, b);
  rmSync(join(a.root, "d/x"));
  await sync(a, b);
  rmSync(join(b.root, "d"));
  expect(await b.engine.restore("d/x", "")).toMatchObject({ size: 25 });
  await sync(a, b);
  expect(read(a, "d/x")).toBe("deleted everywhere by now");
});

test("a file that is known under a size which it has not is told of anew by whoever has it: nobody could fetch it", async () => {
  write(a, "x", "has a size");
  await a.engine.scan({});
  const { hash } = await a.engine.locate("x");
  await a.engine.close();
  const manifest = new Database(a.manifest);
  // As after a look that came long after the file was written.
  manifest.exec("UPDATE entry SET size = 0, racy = 0");
  manifest.close();
  a = await openSite(folder.path, "a");
  await b.engine.begin(hash, 10);
  await b.engine.write(hash, 0, Buffer.from("has a size"));
  await b.engine.finish(hash);
  await pull(b.engine, a.engine, "a");
  expect(await b.engine.locate("x")).toMatchObject({ size: 10 });
  const c = await openSite(folder.path, "c");
  try {
    await sync(c, a);
    expect(read(c, "x")).toBe("has a size");
    expect(await a.engine.locate("x")).toMatchObject({ size: 10 });
  } finally {
    await c.engine.close();
  }
});

test("1 KiB changed in a large file moves its chunk, and wrong chunks are noticed", async () => {
  const bytes = randomBytes(6_000_000);
  writeFileSync(join(a.root, "large"), bytes);
  await sync(a, b);
  randomBytes(1_024).copy(bytes, 3_000_000);
  writeFileSync(join(a.root, "large"), Buffer.concat([bytes.subarray(0, 1_000), Buffer.from("inserted"), bytes.subarray(1_000)]));
  await a.engine.scan({});
  const { hash, size } = await a.engine.locate("large");
  const recipe = await a.engine.recipe(hash, size);
  const parts = await b.engine.assemble(hash, size, "large", recipe);
  expect(parts.reduce((sum, { length }) => sum + length, 0)).toBeLessThan(1_000_000);
  for (const { offset, length } of parts) await b.engine.patch(hash, offset, await a.engine.read(hash, offset, length));
  await b.engine.finish(hash);
  expect((await pull(b.engine, a.engine, "a")).bytes).toBe(0);
  expect(readFileSync(join(b.root, "large")).equals(readFileSync(join(a.root, "large")))).toBe(true);
  await expect(b.engine.assemble("0".repeat(64), size, "large", recipe.subarray(0, 40))).rejects.toMatchObject({ code: "FILE_CORRUPT" });
  const lying = "1".repeat(64);
  for (const { offset, length } of await b.engine.assemble(lying, size, "large", recipe))
    await b.engine.patch(lying, offset, new Uint8Array(length));
  await expect(b.engine.finish(lying)).rejects.toMatchObject({ code: "FILE_CORRUPT" });
});

test("doctor counts what would be synced and names what would not, and leaves no trace", () => {
  const root = join(folder.path, "plain");
  mkdirSync(join(root, "d"), { recursive: true });
  for (const name of ["a.txt", "b.log", "app.db", "x.tmp"]) writeFileSync(join(root, "d", name), "12345");
  symlinkSync("/etc/passwd", join(root, "link"));
  expect(diagnoseRoot(root, ["*.log"])).toMatchObject({ status: "ready", files: 1, folders: 1, bytes: 5, ignored: 1 });
  expect(
    diagnoseRoot(root, [])
      .leftAlone.map(({ path }) => path)
      .sort(),
  ).toEqual(["d/app.db", "d/x.tmp", "link"]);
  expect(readdirSync(root).sort()).toEqual(["d", "link"]);
  expect(diagnoseRoot(join(root, "nothing"), [])).toMatchObject({ status: "refused" });
  expect(diagnoseRoot(a.root, [])).toMatchObject({ status: "attached" });
});

test("a version that has a second name is stored as bytes of its own: who writes under that name later changes no stored version", async () => {
  write(b, "x", "the first version");
  linkSync(join(b.root, "x"), join(b.root, "twin"));
  await sync(a, b);
  write(a, "x", "from a");
  await sync(a, b);
  // In place, into what both names stood for.
  write(b, "twin", "another text");
  expect(read(b, "x")).toBe("from a");
  const [stored] = await b.engine.versions("x");
  await b.engine.restore("x", stored?.hash ?? "");
  expect(read(b, "x")).toBe("the first version");
});

test("another node's permissions come to the name in the root, and not to what a second name outside of it stands for", async () => {
  const outside = join(folder.path, "outside");
  writeFileSync(outside, "1");
  chmodSync(outside, 0o644);
  linkSync(outside, join(b.root, "x"));
  await sync(a, b);
  chmodSync(join(a.root, "x"), 0o744);
  await sync(a, b);
  expect(statSync(join(b.root, "x")).mode & 0o777).toBe(0o744);
  expect(statSync(outside)).toMatchObject({ mode: 0o100644, nlink: 1 });
  expect(read(b, "x")).toBe("1");
});

test("bytes that were displaced since somebody read them are served from the store", async () => {
  write(a, "x", "1");
  await sync(a, b);
  const hash = createHash("sha256").update("1").digest("hex");
  const served = async () => Buffer.from(await a.engine.read(hash, 0, 1)).toString();
  expect(await served()).toBe("1");
  write(b, "x", "2");
  await sync(a, b);
  expect(read(a, "x")).toBe("2");
  expect(await served()).toBe("1");
});

test("another file under the time of the one before is an edit: programs give files times of their own", async () => {
  write(a, "x", "1");
  utimesSync(join(a.root, "x"), 499_162_500, 499_162_500);
  await sync(a, b);
  await new Promise((resolve) => setTimeout(resolve, 150));
  await a.engine.scan({});
  write(a, "new", "2");
  utimesSync(join(a.root, "new"), 499_162_500, 499_162_500);
  renameSync(join(a.root, "new"), join(a.root, "x"));
  await sync(a, b);
  expect([read(a, "x"), read(b, "x")]).toEqual(["2", "2"]);
  expect((await b.engine.versions("x")).map(({ why }) => why)).toEqual(["replaced"]);
});

test("in a copy of a root that is put in its place nothing counts as deleted: what is not in it comes back", async () => {
  write(a, "x", "1");
  await sync(a, b);
  cpSync(a.root, join(folder.path, "copy"), { recursive: true, preserveTimestamps: true });
  write(a, "y", "written after the copy");
  await sync(a, b);
  await a.engine.close();
  rmSync(a.root, { recursive: true });
  renameSync(join(folder.path, "copy"), a.root);
  a = await openSite(folder.path, "a");
  await sync(a, b);
  await sync(a, b);
  for (const site of [a, b]) expect(read(site, "y")).toBe("written after the copy");
  // From then on it is the root.
  rmSync(join(a.root, "y"));
  await sync(a, b);
  expect(existsSync(join(b.root, "y"))).toBe(false);
});

test("a folder's deletion that comes where a link stands for it by now deletes nothing that was in it: whoever has it keeps it", async () => {
  const c = await openSite(folder.path, "c");
  mkdirSync(join(a.root, "d"));
  await sync(a, b);
  write(b, "d/x", "nobody has deleted this");
  await sync(b, c);
  rmSync(join(a.root, "d"), { recursive: true });
  await a.engine.scan({ confirm: true });
  await b.engine.scan({ confirm: true });
  rmSync(join(b.root, "d"), { recursive: true });
  symlinkSync(folder.path, join(b.root, "d"));
  await pull(b.engine, a.engine, "a");
  await b.engine.scan({ confirm: true });
  rmSync(join(b.root, "d"));
  await sync(b, c);
  await sync(a, c);
  await c.engine.close();
  for (const site of [a, b, c]) expect(read(site, "d/x")).toBe("nobody has deleted this");
});

test("what was in a folder that is gone by the word of others is gone with it, and told", async () => {
  mkdirSync(join(a.root, "d"));
  await sync(a, b);
  rmSync(join(a.root, "d"), { recursive: true });
  await a.engine.scan({ confirm: true });
  write(b, "d/x", "gone a moment later");
  await b.engine.scan({ confirm: true });
  rmSync(join(b.root, "d"), { recursive: true });
  await pull(b.engine, a.engine, "a");
  await sync(a, b);
  await sync(a, b);
  for (const { engine } of [a, b]) expect(engine.state()).toMatchObject({ files: 0, folders: 0, wanted: 0, missing: 0 });
  expect(await pull(a.engine, b.engine, "b")).toMatchObject({ entries: 0, refused: [] });
});

test("an earlier version can be brought back over bytes that are suspect, which are kept", async () => {
  write(a, "x", "1");
  await sync(a, b);
  write(a, "x", "22222222");
  await sync(a, b);
  await new Promise((resolve) => setTimeout(resolve, 150));
  await b.engine.scan({});
  const file = join(b.root, "x");
  const twin = join(folder.path, "twin");
  execFileSync("touch", ["-r", file, twin]);
  writeFileSync(file, "rotten");
  execFileSync("touch", ["-r", twin, file]);
  await b.engine.scan({ deep: true });
  expect(b.engine.state().wanted).toBe(1);
  await b.engine.restore("x", createHash("sha256").update("1").digest("hex"));
  expect(read(b, "x")).toBe("1");
  expect((await b.engine.versions("x")).map(({ size }) => `${size} bytes`).sort()).toEqual(["1 bytes", "6 bytes"]);
});

test("a file that was changed too shortly before it was looked at is read again, however long the look took", async () => {
  let nowMs: number | null = null;
  await a.engine.close();
  a = await openSite(folder.path, "a", {
    diskClock: new DiskClock(() => nowMs ?? Date.now()),
    // Making files durable takes a second.
    reached: (step) => void (nowMs !== null && step === "files read" && (nowMs += 1_000)),
  });
  write(a, "x", "1");
  // The look begins in the moment of that, however busy the machine is.
  nowMs = Math.ceil(statSync(join(a.root, "x")).ctimeMs);
  expect(await a.engine.scan({})).toMatchObject({ hashed: 1 });
  expect(await a.engine.scan({})).toMatchObject({ hashed: 1 });
});

/** Writes into a mapped file, and once more when it is told to: from its arguments the file, and two names for "go on" and "done". */
const MAPPER = `
import mmap, os, sys, time
path, go, done = sys.argv[1:]
mapped = mmap.mmap(os.open(path, os.O_RDWR), 0)
mapped[0:1] = b"2"
print("mapped", flush=True)
while not os.path.exists(go): time.sleep(0.002)
mapped[0:1] = b"3"
mapped.close()
open(done, "w").close()
`;
const TMPFS = 0x01021994;

// Writes into mapped files of tmpfs change no time at all.
test.skipIf(statfsSync(tmpdir()).type === TMPFS)("what a program writes into a mapped file while it is looked at is seen", async () => {
  write(a, "x", "1 by everyone");
  await sync(a, b);
  await a.engine.close();
  const [go, done] = [join(folder.path, "go"), join(folder.path, "done")];
  a = await openSite(folder.path, "a", {
    reached: (step) => {
      if (step !== "files read" || existsSync(go)) return;
      writeFileSync(go, "");
      while (!existsSync(done)) Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, 2);
    },
  });
  const mapper = spawn("python3", ["-c", MAPPER, join(a.root, "x"), go, done], { stdio: ["ignore", "pipe", "inherit"] });
  const over = once(mapper, "exit");
  await once(mapper.stdout, "data");
  // Until its first write is not too fresh to tell.
  await new Promise((resolve) => setTimeout(resolve, 150));
  await a.engine.scan({});
  expect(await over).toEqual([0, null]);
  await sync(a, b);
  expect([read(a, "x"), read(b, "x")]).toEqual(["3 by everyone", "3 by everyone"]);
});

test("a clock that was set back, or just set, makes no file older than it is", () => {
  let [wallMs, countedMs] = [1_000_000, 0];
  const clock = new DiskClock(
    () => wallMs,
    () => countedMs,
  );
  const changed = (atMs: number) => ({ mtimeNs: BigInt(atMs) * 1_000_000n, ctimeNs: BigInt(atMs) * 1_000_000n }) as BigIntStats;
  expect(clock.mayBeUnwritten(changed(wallMs - 59_000))).toBe(true);
  expect(clock.mayBeUnwritten(changed(wallMs - 61_000))).toBe(false);
  wallMs -= 3_600_000;
  expect(clock.mayBeUnwritten(changed(wallMs))).toBe(true);
  expect(clock.mayBeUnwritten(changed(wallMs - 600_000))).toBe(true);
  wallMs += 61_000;
  countedMs += 61_000;
  expect(clock.mayBeUnwritten(changed(wallMs - 600_000))).toBe(false);
  expect(clock.nowUs()).toBe(wallMs * 1_000);
});

test("what is written after sleep, which a process does not count, keeps its name against what was written before it", async () => {
  let sleptMs = 0;
  await a.engine.close();
  a = await openSite(folder.path, "a", { diskClock: new DiskClock(() => Date.now() + sleptMs) });
  sleptMs = 8 * 3_600_000;
  const nowUs = () => (Date.now() + sleptMs) * 1000;
  await b.engine.close();
  b = await openSite(folder.path, "b", { nowUs, diskClock: new DiskClock(() => Date.now() + sleptMs) });
  for (const [site, hours] of [
    [a, 7],
    [b, 6],
  ] as const) {
    write(site, "x", `after ${hours} hours`);
    const seconds = Date.now() / 1000 + hours * 3_600;
    utimesSync(join(site.root, "x"), seconds, seconds);
  }
  await sync(a, b);
  await sync(a, b);
  for (const site of [a, b]) {
    expect(read(site, "x")).toBe("after 7 hours");
    expect(await site.engine.reviews()).toMatchObject([{ key: "x", loser: { author: "b" } }]);
  }
});

test("what was first missed while the clock was ahead is deleted everywhere all the same, not when that time has come", async () => {
  let aheadUs = 3_600_000_000;
  const c = await openSite(folder.path, "c", { nowUs: () => Date.now() * 1000 + aheadUs, sightingGapMs: 200 });
  try {
    write(c, "note.txt", "thrown away");
    await sync(c, b);
    rmSync(join(c.root, "note.txt"));
    await c.engine.scan({});
    aheadUs = 0;
    await sync(c, b);
    await sync(c, b);
    expect(c.engine.state()).toMatchObject({ missing: 0 });
    expect(existsSync(join(b.root, "note.txt"))).toBe(false);
  } finally {
    await c.engine.close();
  }
});
