import { expect, test } from "vitest";
import { NODE_ACCESS } from "../src/access.ts";
import { scopesOf } from "../src/scopes/definitions.ts";

test("nodes of a scope may make these calls and no other", () => {
  const allowed = NODE_ACCESS.filter(([, { limited }]) => limited !== undefined).map(([path]) => path.split("/").at(-1));
  expect(new Set(allowed)).toEqual(new Set(["Digest", "FileChecksums", "GetChanges", "GetFile", "Ping", "PushChanges", "PutFile"]));
});

test("a scope is what its file says, and what is not understood is refused rather than left out", () => {
  expect(
    scopesOf({ team: { main: { a: "all", b: "follow", c: { where: "x = 'it''s' AND \"y z\" IN (1, -2)", columns: ["x"] } } } }),
  ).toEqual([
    {
      name: "team",
      databases: [
        {
          database: "main",
          rule: {
            name: "team",
            tables: [
              { table: "a", where: [], columns: null, follow: false },
              { table: "b", where: null, columns: null, follow: true },
              {
                table: "c",
                where: [
                  { column: "x", values: ["it's"] },
                  { column: "y z", values: [1n, -2n] },
                ],
                columns: ["x"],
                follow: false,
              },
            ],
          },
        },
      ],
      files: [],
    },
  ]);
  const conditions = [
    "",
    "x",
    "x =",
    "x = 1 OR 1 = 1",
    "x = 1; DROP TABLE t",
    "x IN ()",
    "x IN (SELECT 1)",
    "x = y",
    "x = 1.5",
    "x = 'a",
    "x <> 1",
    "x = 1 AND",
    "(x = 1)",
    "x = 1 -- y",
  ];
  for (const where of conditions) expect(() => scopesOf({ team: { main: { c: { where } } } }), where).toThrow(/cannot be read/);
  const wrong: unknown[] = [
    null,
    [],
    { team: {} },
    { "a/b": { main: { a: "all" } } },
    { "..": { main: { a: "all" } } },
    { team: { main: { a: "some" } } },
    { team: { main: { a: {} } } },
    { team: { main: { a: { where: 1 } } } },
    { team: { main: { a: { follow: "yes" } } } },
    { team: { main: { a: { where: "x = 1", rows: 5 } } } },
    { team: { files: { uploads: "x/" } } },
    { team: { files: { uploads: [""] } } },
    { team: { files: { uploads: [5454] } } },
    { team: { files: ["uploads"] } },
  ];
  for (const content of wrong) expect(() => scopesOf(content), JSON.stringify(content)).toThrow(/scope/);
  for (const folder of ["5454", "/", "../", "/etc/", "a//", "a/./"])
    expect(() => scopesOf({ team: { files: { uploads: [folder] } } }), folder).toThrow(/path|folder/);
});

test("files of a scope are folders of roots", () => {
  expect(scopesOf({ team: { files: { uploads: ["b/", "a/c/", "b/"], pit: "all", none: [] } } })).toEqual([
    {
      name: "team",
      databases: [],
      files: [
        { root: "uploads", folders: ["a/c/", "b/"] },
        { root: "pit", folders: [""] },
        { root: "none", folders: [] },
      ],
    },
  ]);
});
