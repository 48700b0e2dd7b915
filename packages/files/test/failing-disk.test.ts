import { diskLedger } from "./disk-ledger.ts";
import { createHash } from "node:crypto";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { temporaryFolder, until } from "@scoutsync/testkit";
import { afterEach, beforeEach, expect, test } from "vitest";
import { openSite, type Site } from "./exchange.ts";

const MIB = 1024 * 1024;

let folder: { path: string; remove(): void };
let site: Site;
beforeEach(async () => {
  folder = temporaryFolder("failing-disk");
  site = await openSite(folder.path, "a");
});
afterEach(async () => {
  diskLedger.failing = 0;
  await site.engine.close();
  folder.remove();
});

/** Bytes of a file on its way in, and how to send what is asked for of it. */
function incoming(mebibytes: number) {
  const bytes = Buffer.alloc(mebibytes * MIB, `a file of ${mebibytes} MiB`);
  const hash = hashOf(bytes);
  const send = async (length = bytes.length) => {
    for (let at = await site.engine.begin(hash, bytes.length); at < length; at += MIB)
      await site.engine.write(hash, at, bytes.subarray(at, at + MIB));
  };
  /** Sends it as often as it has to be; returns how often the disk failed. */
  const sendAll = async (): Promise<number> => {
    for (let failures = 0; ; failures++) {
      try {
        await send();
        await site.engine.finish(hash);
        return failures;
      } catch (error) {
        if ((error as NodeJS.ErrnoException).code !== "EIO") throw error;
      }
    }
  };
  return { hash, send, sendAll };
}

const hashOf = (bytes: Uint8Array) => createHash("sha256").update(bytes).digest("hex");

/** True for bytes that are in staging, and on the disk. */
function isDurable(hash: string): boolean {
  const path = join(site.root, ".scoutsync-store", "staging", hash);
  return diskLedger.failing === 0 && diskLedger.isDurable(path, hash) && hashOf(readFileSync(path)) === hash;
}

const watch = (work: () => Promise<void>) => diskLedger.watch([folder.path], work);

// The kernel tells once that bytes could not be written: what it still has of them in memory reads well, and syncs well.

test("a file whose bytes the disk refused at the end is received anew", () =>
  watch(async () => {
    const file = incoming(2);
    diskLedger.failing = 1;
    expect(await file.sendAll()).toBe(1);
    expect(isDurable(file.hash)).toBe(true);
  }));

test("a large file whose bytes the disk refused on their way is received anew", () =>
  watch(async () => {
    const file = incoming(40);
    diskLedger.failing = 1;
    expect(await file.sendAll()).toBe(1);
    expect(isDurable(file.hash)).toBe(true);
  }));

test("what was left of a large file is not gone on with where the disk refuses its bytes meanwhile", async () => {
  const file = incoming(40);
  await watch(async () => {
    diskLedger.failing = 1;
    await file.send(36 * MIB);
    await site.engine.leave(file.hash);
    await file.sendAll();
  });
  expect(isDurable(file.hash)).toBe(true);
});

test("what was left of a large file is not gone on with where the disk had refused its bytes before", () =>
  watch(async () => {
    const file = incoming(40);
    diskLedger.failing = 1;
    await file.send(36 * MIB);
    await until(() => diskLedger.failing === 0, { what: "the disk to have been asked to write them" });
    // Until that has come back.
    await new Promise((resolve) => setTimeout(resolve, 500));
    await site.engine.leave(file.hash);
    expect(await site.engine.begin(file.hash, 40 * MIB)).toBe(0);
    await file.sendAll();
    expect(isDurable(file.hash)).toBe(true);
  }));

test("small files of which the disk refused one are received anew", () =>
  watch(async () => {
    const files = [1, 2, 3].map((n) => {
      const bytes = Buffer.from(`small file ${n}`);
      return { hash: hashOf(bytes), bytes };
    });
    diskLedger.failing = 1;
    await expect(site.engine.accept(files)).rejects.toMatchObject({ code: "EIO" });
    expect(await site.engine.holds(files.map(({ hash }) => hash))).toEqual([false, false, false]);
    await site.engine.accept(files);
    expect(files.map(({ hash }) => isDurable(hash))).toEqual([true, true, true]);
  }));

test("a large file goes to the disk while it comes, however fast it comes", async () => {
  const file = incoming(150);
  await watch(async () => {
    diskLedger.sizes.splice(0);
    await file.sendAll();
  });
  const mebibytes = diskLedger.sizes.map((size) => size / MIB);
  expect(Math.max(...mebibytes.map((size, at) => size - (mebibytes[at - 1] ?? 0)))).toBeLessThanOrEqual(40);
});
