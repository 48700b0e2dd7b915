import { expect, test } from "vitest";
import { Quiet } from "../src/pool/quiet.ts";

test("a drain waits until the application is quiet, for two looks at most, and not where there is much", () => {
  const quiet = new Quiet();
  const looks = (...news: boolean[]) => news.map((each) => quiet.isDue({ news: each, urgent: false }));
  expect(looks(true, false)).toEqual([false, true]);
  expect(looks(true, true, true, true, false)).toEqual([false, false, true, false, true]);
  expect(quiet.isWaiting).toBe(false);
  expect(looks(true)).toEqual([false]);
  expect(quiet.isWaiting).toBe(true);
  expect(quiet.isDue({ news: true, urgent: true })).toBe(true);
  expect(quiet.isWaiting).toBe(false);
});
