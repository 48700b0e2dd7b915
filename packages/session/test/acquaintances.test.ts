import { SyncError } from "@scoutsync/core";
import { expect, onTestFinished, test, vi } from "vitest";
import { Acquaintances, Receipts } from "../src/index.ts";

test("what one node says under another one's run keeps nothing from that one", () => {
  const acquaintances = new Acquaintances();
  const [thief, other] = ["thief", "other"].map((name) => ({ id: `id-of-${name}`, name }));
  const vector = new Map([["cccccccccccccccc", 9]]);
  acquaintances.learn("run-of-other", vector, thief);
  acquaintances.follow("run-of-other", thief!);
  expect(acquaintances.known("run-of-other", other!)).toEqual(new Map());
  expect(acquaintances.follows("run-of-other", other!)).toBe(false);
  acquaintances.learn("run-of-other", vector, other);
  const unfollow = acquaintances.follow("run-of-other", other!);
  expect(acquaintances.known("run-of-other", other!)).toEqual(vector);
  expect(acquaintances.follows("run-of-other", other!)).toBe(true);
  unfollow();
  expect(acquaintances.follows("run-of-other", other!)).toBe(false);
});

test("what a node says for the first time is waited for, what it says again is handed on all the same", async () => {
  const node = { id: "id-of-other", name: "other" };
  const [older, newer] = [1, 2].map((sequence) => new Map([["cccccccccccccccc", sequence]]));
  const stored: unknown[] = [];
  const failures: unknown[] = [];
  let done = () => {};
  const storing = () => new Promise<void>((resolve) => (done = resolve));
  let work = storing;
  const receipts = new Receipts(
    async (_, vector) => {
      stored.push(vector);
      await work();
    },
    (error) => failures.push(error),
  );
  const isSettled = async () => {
    let settled = false;
    void receipts.settle().then(() => (settled = true));
    await new Promise(setImmediate);
    return settled;
  };
  receipts.note(node, older!);
  expect(await isSettled()).toBe(false);
  // Said again while the first is on its way: there is still that to wait for.
  receipts.note(node, older!);
  expect(await isSettled()).toBe(false);
  done();
  await new Promise(setImmediate);
  expect(stored).toEqual([older, older]);
  receipts.note(node, older!);
  expect(await isSettled()).toBe(true);
  done();
  receipts.note(node, newer!);
  expect(await isSettled()).toBe(false);
  done();
  await new Promise(setImmediate);
  done();
  await receipts.settle();
  // A word that could not be stored is news when it is said again.
  work = () => Promise.reject(new Error("no room"));
  receipts.note(node, older!);
  await receipts.settle();
  expect(failures).toHaveLength(1);
  work = storing;
  receipts.note(node, older!);
  expect(await isSettled()).toBe(false);
  done();
  await receipts.settle();
});

test("what a node said while the database was locked is stored later, unless it has said something else since", async () => {
  vi.useFakeTimers();
  onTestFinished(() => void vi.useRealTimers());
  const node = { id: "id-of-other", name: "other" };
  const [older, newer] = [1, 2].map((sequence) => new Map([["cccccccccccccccc", sequence]]));
  let isLocked = true;
  const stored: unknown[] = [];
  const receipts = new Receipts((_, vector) => {
    if (isLocked) return Promise.reject(new SyncError({ code: "DATABASE_LOCKED", message: "it is locked", action: "Wait." }));
    stored.push(vector);
    return Promise.resolve();
  });
  receipts.note(node, older!);
  await vi.advanceTimersByTimeAsync(60_000);
  isLocked = false;
  await vi.advanceTimersByTimeAsync(60_000);
  expect(stored).toEqual([older]);
  isLocked = true;
  receipts.note(node, newer!);
  void receipts.settle();
  receipts.note(node, older!);
  const storing = receipts.settle();
  await Promise.resolve();
  isLocked = false;
  await storing;
  await vi.advanceTimersByTimeAsync(60_000);
  expect(stored).toEqual([older, older]);
});

test("what a node says while the database is closed is no failure, and not tried again", async () => {
  vi.useFakeTimers();
  onTestFinished(() => void vi.useRealTimers());
  const failures: unknown[] = [];
  let tries = 0;
  const receipts = new Receipts(
    () => {
      tries += 1;
      return Promise.reject(new SyncError({ code: "SHUTTING_DOWN", message: "it is being closed", action: "Try again." }));
    },
    (error) => failures.push(error),
  );
  receipts.note({ id: "id-of-other", name: "other" }, new Map([["cccccccccccccccc", 1]]));
  await vi.advanceTimersByTimeAsync(60_000);
  expect([tries, failures]).toEqual([1, []]);
});
