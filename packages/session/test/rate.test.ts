import { expect, test } from "vitest";
import { Rate, RowPace } from "../src/index.ts";

test("what passes a limit waits for what passed before it, in order", async () => {
  const rate = new Rate(1_000);
  const order: number[] = [];
  const started = performance.now();
  await Promise.all([1, 2, 3, 4].map((turn) => rate.pass(100).then(() => order.push(turn))));
  expect(order).toEqual([1, 2, 3, 4]);
  // The last of four waits for three hundred units at a thousand per second; a timer may be a little early.
  expect(performance.now() - started).toBeGreaterThan(290);
});

test("a quiet time saves nothing up beyond the next one to pass", async () => {
  let now = 0;
  const rate = new Rate(10, () => now);
  now = 3_600_000;
  await rate.pass(5);
  let passed = false;
  const next = rate.pass(1).then(() => (passed = true));
  await new Promise((resolve) => setTimeout(resolve, 50));
  expect(passed).toBe(false);
  now += 500;
  await next;
});

test("a limit that is lifted or lowered lets those go on who wait; an abort ends the wait", async () => {
  let now = 0;
  const rate = new Rate(0.001, () => now);
  await rate.pass(1);
  const waiting = rate.pass(1);
  rate.limit(0);
  await waiting;
  expect(rate.perSecond).toBe(0);

  rate.limit(0.001);
  await rate.pass(1);
  const again = rate.pass(1);
  rate.limit(1_000);
  now += 1;
  await again;

  rate.limit(0.001);
  const stop = new AbortController();
  const aborted = rate.pass(1, stop.signal).then(() => rate.pass(1, stop.signal));
  stop.abort();
  await aborted;
});

test("where rows are limited, batches are a second's worth, and never larger than asked for", () => {
  const pace = new RowPace();
  expect(pace.batchSize(0, 10_000)).toBe(0);
  expect(pace.batchSize(250, 10_000)).toBe(250);
  pace.changes.limit(300.5);
  expect(pace.batchSize(0, 10_000)).toBe(301);
  expect(pace.batchSize(250, 10_000)).toBe(250);
  pace.changes.limit(0.1);
  expect(pace.batchSize(0, 10_000)).toBe(1);
});
