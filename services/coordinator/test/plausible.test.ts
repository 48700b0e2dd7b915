import { DatabaseStatus, FileRootStatus } from "@scoutsync/protocol";
import { expect, test } from "vitest";
import { databasesIn, rootsIn } from "../src/detection/plausible.ts";

test("of what a node says twice under one name the first counts, in the order of the first", () => {
  const roots = ["photos", "videos", "photos"].map((root, at) => FileRootStatus.fromPartial({ root, cursor: `${at}` }));
  expect(rootsIn(roots)).toMatchObject([
    { root: "photos", cursor: "0" },
    { root: "videos", cursor: "1" },
  ]);
  const databases = ["main", "main"].map((name, at) => DatabaseStatus.fromPartial({ name, vector: `aaaaaaaaaaaaaaaa:${at + 1}` }));
  expect(databasesIn(databases)).toMatchObject([{ name: "main", vector: "aaaaaaaaaaaaaaaa:1" }]);
});
