import type { Value } from "@scoutsync/protocol";
import { expect, test } from "vitest";
import { parseAssignment } from "../src/commands/assignment.ts";
import { jsonValue } from "../src/output/json.ts";
import { shown } from "../src/output/shown.ts";
import { renderTable } from "../src/output/table.ts";

const of = (kind: Value["kind"]): Value => ({ kind });

test.each([
  [of({ $case: "integer", value: 9223372036854775807n }), "9223372036854775807"],
  [of({ $case: "integer", value: -9223372036854775808n }), "-9223372036854775808"],
  [of({ $case: "real", value: 1 }), "1.0"],
  [of({ $case: "real", value: 0.1 + 0.2 }), "0.30000000000000004"],
  [of({ $case: "real", value: 5e-324 }), "5e-324"],
  [of({ $case: "real", value: -0 }), "-0.0"],
  [of({ $case: "real", value: -Infinity }), '{"real":"-Infinity"}'],
  [of({ $case: "text", value: "a\u0000b" }), '"a\\u0000b"'],
  [of({ $case: "blob", value: Buffer.from([0, 255]) }), '{"blob":"AP8="}'],
  [of({ $case: "rawText", value: Buffer.from([255]) }), '{"raw_text":"/w=="}'],
  [of({ $case: "null", value: true }), "null"],
])("%o is %s in JSON", (value, expected) => {
  expect(JSON.stringify(jsonValue(value))).toBe(expected);
});

test.each([
  ["notes=a=b", "notes", { $case: "text", value: "a=b" }],
  ["code=007", "code", { $case: "text", value: "007" }],
  ["notes=", "notes", { $case: "text", value: "" }],
  ["n:=12", "n", { $case: "integer", value: 12n }],
  ["n:=-9223372036854775808", "n", { $case: "integer", value: -9223372036854775808n }],
  ["n:=9223372036854775808", "n", { $case: "real", value: 9223372036854775808 }],
  ["n:=1.5", "n", { $case: "real", value: 1.5 }],
  ["n:=null", "n", { $case: "null", value: true }],
  ["n:='it''s'", "n", { $case: "text", value: "it's" }],
  ["n:=x'00ff'", "n", { $case: "blob", value: Buffer.from([0, 255]) }],
])("--set %s", (text, name, kind) => {
  expect(parseAssignment(text)).toEqual({ name, value: { kind }, base: undefined });
});

test.each(["novalue", "=x", "n:=what", "n:=x'0'"])("--set %s is refused with a way out", (text) => {
  expect(() => parseAssignment(text)).toThrow(/COLUMN=TEXT/);
});

test("a table is as wide as its content, numbers to the right, cut at the screen's end", () => {
  expect(
    renderTable(
      ["name", "rows"],
      [
        ["pits", "7"],
        ["stands", "120"],
      ],
      80,
    ),
  ).toBe("name    rows\n────────────\npits       7\nstands   120");
  expect(renderTable(["name"], [["abcdefghij"]], 6)).toBe("name\n─────…\nabcde…");
});

test("a name of a file gives a terminal no orders, and pretends no further line", () => {
  expect(shown("a\u001b[2J\nb\u009b1m\u007fü")).toBe("a\\x1b[2J\\x0ab\\x9b1m\\x7fü");
});
