import { describe, expect, test } from "vitest";
import {
  covers,
  EMPTY_VECTOR,
  equalVectors,
  formatVector,
  isCovered,
  join,
  type Origin,
  parseVector,
  SyncError,
  type VersionVector,
} from "../src/index.ts";
import { fc } from "./seeded.ts";

const origin = fc.string({ unit: fc.constantFrom(..."abcdefghijklmnopqrstuvwxyz234567".split("")), minLength: 16, maxLength: 16 });
/** Few origins, so that vectors meet; sequence 0 is the same as not being there. */
const fewOrigins = fc.constantFrom("a".repeat(16), "b".repeat(16), "c".repeat(16), "2".repeat(16));
const vectorOver = (names: fc.Arbitrary<string>, most: number) =>
  fc.array(fc.tuple(names, fc.nat(most))).map((entries): VersionVector => new Map(entries));
const vector = vectorOver(fewOrigins, 5);

describe("vectors", () => {
  test("join is the least upper bound", () => {
    fc.assert(
      fc.property(vector, vector, vector, (a, b, c) => {
        expect(equalVectors(join(a, b), join(b, a))).toBe(true);
        expect(equalVectors(join(a, join(b, c)), join(join(a, b), c))).toBe(true);
        expect(equalVectors(join(a, a), a)).toBe(true);
        expect(equalVectors(join(a, EMPTY_VECTOR), a)).toBe(true);
        expect(isCovered(a, join(a, b)) && isCovered(b, join(a, b))).toBe(true);
        const bound = isCovered(a, c) && isCovered(b, c);
        expect(isCovered(join(a, b), c)).toBe(bound);
      }),
    );
  });

  test("join changes neither of the two", () => {
    const a: VersionVector = new Map([["a".repeat(16), 1]]);
    const b: VersionVector = new Map([["a".repeat(16), 2]]);
    expect(join(a, b).get("a".repeat(16))).toBe(2);
    expect(a.get("a".repeat(16))).toBe(1);
    expect(b.get("a".repeat(16))).toBe(2);
  });

  test("covering is a partial order, and says the same as covering every dot", () => {
    fc.assert(
      fc.property(vector, vector, vector, (a, b, c) => {
        expect(isCovered(a, a)).toBe(true);
        expect(!(isCovered(a, b) && isCovered(b, c)) || isCovered(a, c)).toBe(true);
        expect(equalVectors(a, b)).toBe(isCovered(a, b) && isCovered(b, a));
        expect(isCovered(a, b)).toBe([...a].every(([name, sequence]) => sequence === 0 || covers(b, name, sequence)));
      }),
    );
  });

  test("what is written is read back", () => {
    fc.assert(
      fc.property(vectorOver(origin, Number.MAX_SAFE_INTEGER), (given) => {
        expect(equalVectors(parseVector(formatVector(given)), given)).toBe(true);
        expect(formatVector(parseVector(formatVector(given)))).toBe(formatVector(given));
      }),
    );
  });

  test("equal vectors are written equally, however they came about", () => {
    fc.assert(
      fc.property(vector, vector, (a, b) => {
        expect(formatVector(join(a, b))).toBe(formatVector(join(b, a)));
      }),
    );
  });

  test("people may add blanks and an entry may come twice: the greater counts", () => {
    const a = "a".repeat(16) as Origin;
    expect(parseVector("")).toEqual(new Map());
    expect(parseVector(` ${a}:3 , ${a}:2,`)).toEqual(new Map([[a, 3]]));
  });

  test.each([
    ["no sequence", "aaaaaaaaaaaaaaaa"],
    ["an origin that is too short", "aaa:1"],
    ["an origin that is too long", "aaaaaaaaaaaaaaaaa:1"],
    ["capitals", "AAAAAAAAAAAAAAAA:1"],
    ["digits that base32 does not have", "aaaaaaaaaaaaaaa1:1"],
    ["a negative sequence", "aaaaaaaaaaaaaaaa:-1"],
    ["a fraction", "aaaaaaaaaaaaaaaa:1.5"],
    ["no number", "aaaaaaaaaaaaaaaa:x"],
    ["a sequence of 2^53", "aaaaaaaaaaaaaaaa:9007199254740992"],
    ["another separator", "aaaaaaaaaaaaaaaa:1;bbbbbbbbbbbbbbbb:1"],
    ["something behind a line break", "aaaaaaaaaaaaaaaa:1\nx"],
  ])("%s is refused with what to do", (_, text) => {
    const refusal = (() => {
      try {
        return parseVector(text);
      } catch (error) {
        return error;
      }
    })();
    expect(refusal).toBeInstanceOf(SyncError);
    expect(refusal).toMatchObject({ code: "INVALID_ARGUMENT", retryable: false });
    expect((refusal as SyncError).message).toContain("scoutsync ping");
  });

  test("a long mistake is not repeated whole", () => {
    expect(() => parseVector("x".repeat(100_000))).toThrow(/^"x{60}"/);
  });
});
