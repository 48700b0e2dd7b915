import { expect, test } from "vitest";
import { Acquaintances } from "../src/index.ts";

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
