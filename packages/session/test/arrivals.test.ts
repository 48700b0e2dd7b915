import { afterEach, beforeEach, expect, test, vi } from "vitest";
import { Arrivals } from "../src/arrivals.ts";

beforeEach(() => void vi.useFakeTimers());
afterEach(() => void vi.useRealTimers());

test("what a follower could not say is said again, though nothing comes after it", async () => {
  const over = new AbortController();
  let vector = new Map([["a", 1]]);
  let failures = 2;
  const said: number[] = [];
  const say = async () => {
    if (failures-- > 0) throw new Error("the database is locked");
    said.push(vector.get("a") ?? 0);
  };
  const arrivals = new Arrivals({ vector: () => vector, say, signal: over.signal });
  vector = new Map([["a", 2]]);
  arrivals.note();
  await vi.advanceTimersByTimeAsync(60_000);
  expect(said).toEqual([2]);
  await vi.advanceTimersByTimeAsync(600_000);
  expect(said, "once is enough").toEqual([2]);
  failures = 10;
  vector = new Map([["a", 3]]);
  arrivals.note();
  await vi.advanceTimersByTimeAsync(10_000);
  over.abort();
  await vi.advanceTimersByTimeAsync(600_000);
  expect(said, "nothing once the stream is over").toEqual([2]);
});
