import { SyncError } from "@scoutsync/core";
import { expect, onTestFinished, test, vi } from "vitest";
import { Acquaintances, Namesakes, Receipts, type Word } from "../src/index.ts";

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

/** What b makes of the runs of one node: the answers are how many changes it counts as there, `found` how often it said there are two. */
function namesakes() {
  const node = { id: "id-of-other", name: "other" };
  const at = { hours: 0 };
  const found: boolean[] = [];
  const seen = new Namesakes(
    () => ({ id: "id-of-self", run: "own run" }),
    (_, isSelf) => found.push(isSelf),
    () => at.hours * 3_600_000,
  );
  const said = (run: string, has: number, word: Word = "own") =>
    seen.heard(node, run, new Map([["cccccccccccccccc", has]]), word).get("cccccccccccccccc");
  return { said, found, at };
}

test("a node that was started anew, or restored, has what it said last, also where a word of its former run was on its way", () => {
  const { said, found } = namesakes();
  const words = [
    ["one", 5],
    ["two", 6],
    ["one", 5],
    ["two", 7],
    ["restored", 3],
    ["restored", 8],
    ["four", 9],
  ] as const;
  expect(words.map(([run, has]) => said(run, has))).toEqual(words.map(([, has]) => has));
  // Answers that do not say of which run they are.
  for (let i = 10; i < 20; i++) expect([said("restored", i, "answer"), said("four", i)]).toEqual([i, i]);
  expect(found).toEqual([]);
});

test("what a file says a node had once neither takes back what it said since, nor counts where a backup of it was put back since", () => {
  const { said } = namesakes();
  // Nothing else is known of it.
  expect(said("one", 3, "file")).toBe(3);
  said("one", 5);
  expect(said("one", 3, "file")).toBe(5);
  expect(said("one", 8, "file")).toBe(8);
  said("restored", 2);
  expect(said("one", 8, "file")).toBe(2);
  expect(said("restored", 4)).toBe(4);
});

test("runs that take turns are two nodes, which have what both have, also when one of them is started anew", () => {
  const { said, found } = namesakes();
  for (let i = 0; i < 2; i++) for (const run of ["original", "copy"]) said(run, 1);
  expect(found).toEqual([]);
  expect(said("original", 1)).toBe(1);
  expect(found).toEqual([false]);
  expect(said("copy", 2)).toBe(1);
  expect(said("original", 3)).toBe(2);
  expect(said("copy", 4, "answer")).toBe(3);
  // One of the two, whichever: neither is taken to have more than it said.
  expect(said("copy anew", 5)).toBe(3);
  said("original", 6);
  said("copy anew", 7);
  expect(said("original", 8)).toBe(7);
  expect(said("copy anew", 9)).toBe(8);
  expect(found).toEqual([false]);
});

test("of three copies one that is away counts when another one is started anew", () => {
  const { said } = namesakes();
  for (let i = 0; i < 4; i++) for (const run of ["one", "two", "three"]) said(run, 1);
  said("two anew", 2);
  for (let i = 0; i < 4; i++) for (const run of ["three", "two anew"]) expect(said(run, 3)).toBe(1);
});

test("two nodes that are one again hold nothing back for longer than a day", () => {
  const { said, found, at } = namesakes();
  for (let i = 0; i < 3; i++) for (const run of ["original", "copy"]) said(run, 1);
  for (; at.hours <= 23; at.hours++) expect(said("original", 2)).toBe(1);
  at.hours += 2;
  expect(said("original", 3)).toBe(3);
  expect(found).toEqual([false]);
});
