import { createHash } from "node:crypto";
import { mkdirSync, readdirSync, readFileSync, symlinkSync, writeFileSync } from "node:fs";
import { join, resolve, sep } from "node:path";
import fc from "fast-check";
import { afterAll, beforeAll, expect, test } from "vitest";
import { SyncError, type FileEntry, type Origin } from "@scoutsync/core";
import { pathProblem } from "@scoutsync/files";
import { FileEntry as WireEntry, fromWireEntry, toWireEntry } from "@scoutsync/protocol";
import { temporaryFolder } from "@scoutsync/testkit";
import { readRecipe } from "../../packages/files/src/chunks/recipe.ts";
import { openSite, type Site } from "../../packages/files/test/exchange.ts";
import { expectHolds, mutated } from "./budget.ts";

const BYTES = Buffer.from("from a hostile peer");
const HASH = createHash("sha256").update(BYTES).digest("hex");
/** What paths that lead elsewhere are made of, beside plain names. */
const PIECES = [
  "..",
  ".",
  "",
  "a",
  "docs",
  "canary",
  "secret",
  "/",
  "\\",
  "\0",
  "\u202e",
  "CON",
  "aux.txt",
  ".scoutsync-store",
  ".scoutsyncignore",
  "\u00e9",
  "e\u0301",
  "\ud800",
  "%2e%2e",
  "~",
  "C:",
  "app.db-wal",
];

let folder: { path: string; remove(): void };
let site: Site;

beforeAll(async () => {
  folder = temporaryFolder("fuzz-paths");
  mkdirSync(join(folder.path, "canary"));
  writeFileSync(join(folder.path, "canary", "secret"), "untouched");
  site = await openSite(folder.path, "a");
  // Links that lead out are there already: no path may go through them.
  symlinkSync(join(folder.path, "canary"), join(site.root, "docs"));
  symlinkSync(join(folder.path, "canary", "secret"), join(site.root, "secret"));
});
afterAll(async () => {
  await site.engine.close();
  folder.remove();
});

const piece = fc.oneof(
  { weight: 3, arbitrary: fc.constantFrom(...PIECES) },
  { weight: 1, arbitrary: fc.string({ maxLength: 12, unit: "binary" }) },
);
const path = fc.oneof(
  fc
    .tuple(fc.array(piece, { maxLength: 8 }), fc.constantFrom("/", "/", "/", "\\", "//"))
    .map(([pieces, separator]) => pieces.join(separator)),
  fc.string({ maxLength: 60, unit: "binary" }),
  fc.constantFrom("../canary/new", "a/../../../canary/new", "docs/new", "secret", "a/./b", "../../data/files.db"),
);

function expectNothingOutside(): void {
  expect(readdirSync(folder.path).sort()).toEqual(["a", "canary"]);
  expect(readdirSync(join(folder.path, "a")).sort()).toEqual(["data", "root"]);
  expect(readdirSync(join(folder.path, "canary"))).toEqual(["secret"]);
  expect(readFileSync(join(folder.path, "canary", "secret"), "utf8")).toBe("untouched");
}

function entryOf(of: string, change: Partial<FileEntry> = {}): FileEntry {
  return {
    path: of,
    kind: "file",
    hash: HASH,
    size: BYTES.length,
    mode: 7,
    modifiedUs: 1,
    version: new Map([["p".repeat(16) as Origin, 7]]),
    stampUs: 1,
    author: "p",
    before: "",
    cause: "",
    losers: [],
    ...change,
  };
}

test("a path that is let through leads into the root, and its name is one that every system keeps as it is", async () => {
  const root = sep === "/" ? "/srv/root" : "C:\\root";
  await expectHolds("paths", path, (text) => {
    if (pathProblem(text) !== null) return;
    const resolved = resolve(root, text);
    if (!resolved.startsWith(root + sep) || resolved !== `${root}/${text}`.replaceAll("/", sep)) throw new Error("leads elsewhere");
    if (text !== text.normalize("NFC") || !text.isWellFormed() || /\p{Cc}|\\/u.test(text)) throw new Error("is not one name everywhere");
    if (text.split("/").some((name) => /^\.scoutsync(-|$)/i.test(name) || Buffer.byteLength(name) > 255)) throw new Error("is ours");
  });
});

test("entries of any path and content are taken or refused, and nothing is written outside of the root", async () => {
  let version = 7;
  await expectHolds("file entries", fc.tuple(path, fc.constantFrom("file", "folder", "gone"), path), async ([text, kind, before]) => {
    version += 1;
    const entry = entryOf(text, { kind, before, version: new Map([["p".repeat(16) as Origin, version]]) });
    const { wants } = await site.engine.receive([entry], "q".repeat(16), "peer");
    for (const { hash, size } of wants) {
      await site.engine.begin(hash, size);
      await site.engine.write(hash, 0, BYTES);
      await site.engine.finish(hash);
    }
    if (wants.length > 0) await site.engine.receive([entry], "q".repeat(16), "peer");
    if (version % 64 === 0) expectNothingOutside();
  });
  expectNothingOutside();
  const honest = entryOf("honest.txt", { version: new Map([["p".repeat(16) as Origin, version + 1]]) });
  expect((await site.engine.receive([honest], "q".repeat(16), "peer")).placed).toBe(1);
});

/** Anything but a SyncError that says what to do is a defect. */
function onlySaysNo(work: () => unknown): void {
  try {
    work();
  } catch (error) {
    if (!(error instanceof SyncError) || error.code === "INTERNAL") throw error;
  }
}

test("entries and lists of chunks as they come from the wire", async () => {
  const valid = [entryOf("a/b.txt"), entryOf("gone", { kind: "gone", before: HASH })].map((entry) =>
    Buffer.from(WireEntry.encode(toWireEntry(entry)).finish()),
  );
  await expectHolds("wire entries", mutated(valid), (bytes) => {
    let wire: WireEntry;
    try {
      wire = WireEntry.decode(bytes);
    } catch {
      // gRPC answers with INTERNAL.
      return;
    }
    onlySaysNo(() => fromWireEntry(wire));
  });
  const record = Buffer.alloc(20, 1);
  record.writeUInt32LE(4_096, 0);
  await expectHolds("lists of chunks", fc.tuple(mutated([record, Buffer.concat([record, record])]), fc.nat(10_000)), ([bytes, size]) =>
    onlySaysNo(() => {
      const chunks = readRecipe(bytes, size);
      if (chunks.reduce((sum, { length }) => sum + length, 0) !== size) throw new Error("does not add up");
    }),
  );
});
