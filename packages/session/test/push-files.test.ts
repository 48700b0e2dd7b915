import { mkdirSync } from "node:fs";
import { join } from "node:path";
import type { FileEntry, Origin } from "@scoutsync/core";
import { FileRootPool } from "@scoutsync/files";
import { temporaryFolder } from "@scoutsync/testkit";
import { expect, onTestFinished, test } from "vitest";
import { emptyStats, type FilePeer, type Peer, pushFiles, Rate, runSession } from "../src/index.ts";

const MOST_BYTES = 9 * 1024 * 1024;
const AUTHORS = 8_000;
const EACH = 50;

/** Of versions, as text: each author with its counter. */
const bytesOf = (entries: readonly FileEntry[]) => entries.reduce((sum, { version }) => sum + 28 * version.size, 0);

/** A root of its own, for as long as the test takes. */
async function openRoot() {
  const folder = temporaryFolder("push");
  const pool = new FileRootPool();
  onTestFinished(async () => {
    await pool.close();
    folder.remove();
  });
  mkdirSync(join(folder.path, "root"));
  return pool.open({
    name: "uploads",
    path: join(folder.path, "root"),
    manifestPath: join(folder.path, "files.db"),
    nodeName: "a",
    databases: [],
    exclude: [],
  });
}

test("files that were edited in thousands of runs are offered in messages that can be sent, each of them once", async () => {
  const root = await openRoot();
  const authorOf = (n: number) =>
    n
      .toString()
      .padStart(16, "0")
      .replace(/\d/g, (digit) => "abcdefghij".charAt(Number(digit))) as Origin;
  const version = new Map(Array.from({ length: AUTHORS }, (_, n) => [authorOf(n), 1_700_000_000]));
  const about = { hash: "", size: 0, modifiedUs: 1, version, stampUs: 1, author: "b", before: "", cause: "", losers: [] };
  const paths = (kind: string) => Array.from({ length: EACH }, (_, n) => `${kind} ${1000 + n}`);
  await root.receive(
    [
      ...paths("folder").map((path): FileEntry => ({ ...about, path, kind: "folder", mode: 7 })),
      ...paths("gone").map((path): FileEntry => ({ ...about, path, kind: "gone", mode: 0 })),
    ],
    "b".repeat(16),
    "b",
  );

  // What one message of a list holds.
  const listed: string[] = [];
  for (let seq = 0, isEnd = false; !isEnd;) {
    const page = await root.list({ index: root.state.index, seq, sinceUs: 0, tombstones: true, limit: 5_000, notFrom: "" });
    expect(bytesOf(page.entries)).toBeLessThan(MOST_BYTES);
    listed.push(...page.entries.map(({ path }) => path));
    ({ seq, isEnd } = page);
  }
  expect(listed.sort()).toEqual([...paths("folder"), ...paths("gone")]);

  // What a person is told of them.
  const told: string[] = [];
  for (let page = await root.files("", "", 10_000); page.length > 0; page = await root.files("", told.at(-1) ?? "", 10_000)) {
    expect(page.reduce((sum, one) => sum + one.version.length, 0)).toBeLessThan(MOST_BYTES);
    told.push(...page.map(({ path }) => path));
  }
  expect(told).toEqual([...paths("folder"), ...paths("gone")]);

  const offered: string[] = [];
  const peer = {
    openPut: async () => ({
      ready: { received: 0, known: [], index: "c".repeat(16), digest: "" },
      offer: async (entries: readonly FileEntry[]) => {
        expect(bytesOf(entries)).toBeLessThan(MOST_BYTES);
        offered.push(...entries.map(({ path }) => path));
        return [];
      },
      commit: async () => ({ placed: 0, conflicts: 0, removed: 0, refused: [] }),
      done: async ({ index, seq, digest }: { index: string; seq: number; digest: string }) => ({
        index,
        seq,
        digest,
        received: seq,
        pending: 0,
      }),
      cancel: () => {},
    }),
  } as unknown as FilePeer;
  await pushFiles({ root, peer, nodeName: "a", asKnown: true, rate: new Rate(), stats: emptyStats() });
  expect(offered.sort()).toEqual([...paths("folder"), ...paths("gone")]);
});

test("a session in which a file could not be had just then says why it found nothing equal", async () => {
  const root = await openRoot();
  const refusal = { path: "film", code: "FILE_CHANGED", message: 'the bytes of "film" could not be had now', retry: true };
  const end = (seq: number) => ({ index: "c".repeat(16), seq, digest: "another", received: 0, pending: 1 });
  const peer = {
    address: "b",
    async *fileList() {
      yield { index: "c".repeat(16), entries: [], end: end(0), part: null };
    },
    fileBytes: () => {},
    fileRecipe: () => {},
    openPut: async () => ({
      ready: { received: 0, known: [], index: "c".repeat(16), digest: "" },
      offer: async () => [],
      commit: async () => ({ placed: 0, conflicts: 0, removed: 0, refused: [refusal] }),
      done: async ({ seq }: { seq: number }) => end(seq),
      cancel: () => {},
    }),
  } as unknown as Peer & FilePeer;
  const about = { hash: "", size: 0, modifiedUs: 1, stampUs: 1, author: "b", before: "", cause: "", losers: [] };
  await root.receive(
    [{ ...about, path: "folder", kind: "folder", mode: 7, version: new Map([["b".repeat(16) as Origin, 1_700_000_000]]) }],
    "b".repeat(16),
    "b",
  );
  const done = await runSession({ databases: [], files: [root], peer, nodeName: "a", named: false });
  expect(done).toMatchObject({ success: true, verified: false, errors: [], unverified: [expect.stringContaining('files of "uploads"')] });
});
