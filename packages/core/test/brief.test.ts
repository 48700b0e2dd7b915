import { expect, test } from "vitest";
import { brief, briefColumns, longestOf, RawText } from "../src/index.ts";

test("a value is shown whole up to a length, and beyond it by its beginning, length and hash, which says whether two are equal", () => {
  for (const value of [null, 7n, -0, "text", Buffer.from([1]), new RawText(Buffer.from([0xff]))]) expect(brief(value, 64)).toBe(value);
  const long = [Buffer.alloc(600, 1), "ab🤖".repeat(300), new RawText(Buffer.alloc(600, 0xff))];
  for (const value of long) {
    const short = brief(value, 512) as string;
    expect(short).toMatch(/^.+ … \(\d+ bytes, SHA-256 [0-9a-f]{64}\)$/);
    expect(brief(short, 512)).toBe(short);
    expect(short.isWellFormed()).toBe(true);
  }
  const other = Buffer.alloc(600, 1);
  other[599] = 2;
  expect(brief(other, 512)).not.toBe(brief(Buffer.alloc(600, 1), 512));
  expect(briefColumns([{ name: "a", value: "x".repeat(70_000) }])[0]?.value).toContain("… (70000 bytes");
});

test("values of a long list are shown shorter, so that all of them fit", () => {
  const text = "x".repeat(60_000);
  expect(longestOf([text])).toBe(65_536);
  expect(longestOf(new Array<string>(1_000).fill(text))).toBe(4_096);
  expect(longestOf(new Array<string>(100_000).fill(text))).toBe(512);
});
