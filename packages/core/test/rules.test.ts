import { describe, expect, test } from "vitest";
import {
  type Authorship,
  type CellValue,
  checkTerms,
  compareValues,
  decide,
  elementsOf,
  formatRule,
  formatTerms,
  knew,
  mergeWrite,
  parseRule,
  parseTerms,
  type Rule,
  type RuledWrite,
  tallyOf,
} from "../src/index.ts";
import { fc } from "./seeded.ts";

const ORIGINS = 4;
const AUTHORS = ["pits", "hub", "shop", "van"];

/** A write of the application on one replica, made of what it sees there, or everything another replica holds arrives. */
interface Step {
  at: number;
  from: number | null;
  clock: number;
  /** What the application does to the value it sees. */
  change: number;
}

const steps = (most = 24) =>
  fc.array(
    fc.record({
      at: fc.nat(ORIGINS - 1),
      from: fc.option(fc.nat(ORIGINS - 1)),
      clock: fc.integer({ min: 1, max: 20 }),
      change: fc.integer({ min: -9, max: 9 }),
    }),
    { minLength: 1, maxLength: most },
  );

/** What the application knew and did, told without the product: the ledger. */
interface Entry {
  write: RuledWrite;
  /** Numbers of earlier entries that the writer had. */
  known: ReadonlySet<number>;
  saw: CellValue;
}

/** Replicas of one column that meet now and then. All begin with the same first write. */
function play(rule: Rule, first: CellValue, happened: readonly Step[], edit: (saw: CellValue, step: Step, at: number) => CellValue) {
  const contexts: ReadonlyMap<number, number>[] = [new Map()];
  const causality: Authorship = {
    compareOrigins: (a, b) => b - a,
    contextCovers: (context, origin, sequence) => (contexts[context]?.get(origin) ?? 0) >= sequence,
    sourceOf: () => undefined,
    authorOf: (origin) => AUTHORS[origin]!,
  };
  const birth: RuledWrite = { origin: 0, sequence: 1, time: 1, context: 0, value: first };
  const entries: Entry[] = [{ write: birth, known: new Set(), saw: null }];
  const replicas = Array.from({ length: ORIGINS }, () => ({
    register: [birth] as readonly RuledWrite[],
    vector: new Map([[0, 1]]),
    has: new Set([0]),
  }));
  const sequences = [1, 0, 0, 0];
  happened.forEach((step, number) => {
    const here = replicas[step.at]!;
    if (step.from === null) {
      const saw = decide(rule, here.register, causality).value;
      const value = edit(saw, step, number);
      const dot = { origin: step.at, sequence: ++sequences[step.at]! };
      const context = contexts.push(new Map(here.vector)) - 1;
      const time = Math.max(step.clock, ...here.register.map((held) => held.time + 1));
      const tally = rule.kind === "counter" || rule.kind === "set" ? tallyOf(rule.kind, value, dot, here.register, causality) : undefined;
      const write: RuledWrite = { ...dot, time, context, value, tally };
      entries.push({ write, known: new Set(here.has), saw });
      here.has.add(entries.length - 1);
      here.vector.set(step.at, dot.sequence);
      here.register = mergeWrite(here.register, write, causality);
    } else {
      const there = replicas[step.from]!;
      for (const write of there.register) here.register = mergeWrite(here.register, write, causality);
      for (const [origin, sequence] of there.vector) here.vector.set(origin, Math.max(sequence, here.vector.get(origin) ?? 0));
      for (const entry of there.has) here.has.add(entry);
    }
  });
  const merge = (writes: readonly RuledWrite[]) =>
    writes.reduce<readonly RuledWrite[]>((register, write) => mergeWrite(register, write, causality), []);
  return { causality, entries, merge };
}

const counter = (happened: readonly Step[]) =>
  play({ kind: "counter" }, 100n, happened, (saw, { change }) => (saw as bigint) + BigInt(change));

const set = (happened: readonly Step[]) =>
  play({ kind: "set" }, '["a","b"]', happened, (saw, { change }, number) => {
    const elements = elementsOf(saw)!;
    // Removes what it sees, or adds: now and then what others add, too.
    if (change < 0 && elements.length > 0) elements.splice(-change % elements.length, 1);
    else elements.push(JSON.stringify(change < 4 ? "abcd"[change]! : `new ${number}`));
    return `[${elements.join(",")}]`;
  });

const RULES: Rule[] = [
  { kind: "lww" },
  { kind: "max" },
  { kind: "min" },
  { kind: "counter" },
  { kind: "set" },
  { kind: "prefer", authors: ["hub", "shop"] },
];

describe.each(RULES)("the rule $kind", (rule) => {
  const history = (happened: readonly Step[]) =>
    rule.kind === "set" ? set(happened) : play(rule, 5n, happened, (saw, { change }) => (saw as bigint) + BigInt(change));

  test("says the same in whatever order writes come, however often", () => {
    const shuffled = steps().chain((happened) => {
      const { entries, ...rest } = history(happened);
      const writes = entries.map(({ write }) => write);
      const order = fc.shuffledSubarray(writes, { minLength: writes.length });
      return fc.record({ rest: fc.constant(rest), one: order, other: order, again: fc.subarray(writes) });
    });
    fc.assert(
      fc.property(shuffled, ({ rest: { causality, merge }, one, other, again }) => {
        const [a, b] = [decide(rule, merge(one), causality), decide(rule, merge([...again, ...other, ...one]), causality)];
        expect(b.value).toBe(a.value);
        expect(b.winner).toBe(a.winner);
        expect(new Set(b.lost)).toEqual(new Set(a.lost));
      }),
    );
  });

  test("keeps what the last writer wrote when it knew everything", () => {
    fc.assert(
      fc.property(steps(), (happened) => {
        const { causality, entries, merge } = history(happened);
        const register = merge(entries.map(({ write }) => write));
        expect(register.length > 1 || decide(rule, register, causality).value === register[0]!.value).toBe(true);
      }),
    );
  });
});

describe("what is written is in the outcome", () => {
  test("a counter is its first value and every increment that anyone made, once", () => {
    fc.assert(
      fc.property(steps(), (happened) => {
        const { causality, entries, merge } = counter(happened);
        const increments = entries.slice(1).map(({ write, saw }) => (write.value as bigint) - (saw as bigint));
        const outcome = decide({ kind: "counter" }, merge(entries.map(({ write }) => write)), causality);
        expect(outcome.value).toBe(increments.reduce((sum, increment) => sum + increment, 100n));
        expect(outcome.lost).toEqual([]);
      }),
    );
  });

  test("an element of a set is there when someone added it and nobody who saw that took it out", () => {
    fc.assert(
      fc.property(steps(), (happened) => {
        const { causality, entries, merge } = set(happened);
        const holding = (entry: Entry) => new Set(elementsOf(entry.write.value));
        const seen = (entry: Entry) => new Set(elementsOf(entry.saw) ?? []);
        const expected = new Set<string>();
        entries.forEach((entry, number) => {
          for (const element of holding(entry)) {
            if (seen(entry).has(element)) continue;
            const removed = entries.some((later) => later.known.has(number) && seen(later).has(element) && !holding(later).has(element));
            if (!removed) expected.add(element);
          }
        });
        const outcome = decide({ kind: "set" }, merge(entries.map(({ write }) => write)), causality);
        expect(new Set(elementsOf(outcome.value))).toEqual(expected);
        expect(outcome.lost).toEqual([]);
      }),
    );
  });

  test("max and min take the greatest and the least of what nobody who wrote later knew", () => {
    fc.assert(
      fc.property(steps(), (happened) => {
        for (const kind of ["max", "min"] as const) {
          const { causality, entries, merge } = play({ kind }, 5n, happened, (saw, { change }) => (saw as bigint) + BigInt(change));
          const writes = entries.map(({ write }) => write);
          const heads = writes.filter((write) => !writes.some((later) => knew(later, write.origin, write.sequence, causality)));
          const values = heads.map(({ value }) => Number(value));
          expect(Number(decide({ kind }, merge(writes), causality).value)).toBe(kind === "max" ? Math.max(...values) : Math.min(...values));
        }
      }),
    );
  });

  test("the preferred node's write wins against later ones, and these are conflicts", () => {
    const rule = parseRule("prefer:hub,shop");
    const { causality } = play(rule, null, [], () => null);
    const write = (origin: number, time: number): RuledWrite => ({ origin, sequence: 1, time, context: 0, value: AUTHORS[origin]! });
    const writes = [write(0, 9), write(1, 1), write(2, 5), write(3, 8)];
    expect(decide(rule, writes, causality)).toMatchObject({ value: "hub", lost: [{ origin: 0 }, { origin: 2 }, { origin: 3 }] });
    expect(decide(rule, [write(0, 9), write(2, 5)], causality).value).toBe("shop");
    expect(decide(rule, [write(0, 9), write(3, 8)], causality).value).toBe("pits");
  });
});

describe("values that a rule cannot combine", () => {
  const { causality } = counter([]);
  const write = (kind: "counter" | "set", origin: number, value: CellValue, replaced: readonly RuledWrite[] = []): RuledWrite => {
    const dot = { origin, sequence: 1 };
    return { ...dot, time: origin + 1, context: 0, value, tally: tallyOf(kind, value, dot, replaced, causality) };
  };

  test.each<[CellValue]>([["seven"], [null], [Buffer.from([7])], [Number.POSITIVE_INFINITY]])("a counter with %s is a conflict", (odd) => {
    const writes = [write("counter", 1, odd), write("counter", 2, 3n)];
    expect(decide({ kind: "counter" }, writes, causality)).toMatchObject({ value: 3n, lost: [{ origin: 1 }] });
  });

  test.each<[CellValue]>([["[1"], [null], ['{"a":1}'], ["x"], [7n], [`${"[".repeat(100_000)}${"]".repeat(100_000)}`]])(
    "a set with another value is a conflict",
    (odd) => {
      const writes = [write("set", 1, odd), write("set", 2, "[1]")];
      expect(decide({ kind: "set" }, writes, causality)).toMatchObject({ value: "[1]", lost: [{ origin: 1 }] });
    },
  );

  test("two writes of before the rule, which do not say what they changed, are a conflict", () => {
    const bare = (origin: number, value: CellValue): RuledWrite => ({ origin, sequence: 1, time: origin, context: 0, value });
    expect(decide({ kind: "counter" }, [bare(1, 12n), bare(2, 15n)], causality)).toMatchObject({ value: 15n, lost: [{ origin: 1 }] });
    const base = bare(0, 12n);
    const writes = [write("counter", 1, 14n, [base]), write("counter", 2, 15n, [base])];
    expect(decide({ kind: "counter" }, writes, causality).value).toBe(17n);
  });

  test("a change beyond every double is a conflict, as its sum is not known, until its run writes again", () => {
    const first: RuledWrite = { origin: 0, sequence: 1, time: 0, context: 0, value: 1e308 };
    const low = write("counter", 1, -1.7e308, [first]);
    const other = write("counter", 2, 1.1e308, [first]);
    expect(decide({ kind: "counter" }, [low, other], causality)).toMatchObject({ value: 1.1e308, lost: [{ origin: 1 }] });
    const again = { ...write("counter", 1, 1, [low]), sequence: 2 };
    expect(decide({ kind: "counter" }, [again, other], causality)).toMatchObject({ value: 1 + 1.1e308 - 1e308, lost: [] });
  });

  test("sums are exact to 64 bits and real beyond, as SQLite adds", () => {
    const most = 2n ** 63n - 1n;
    expect(decide({ kind: "counter" }, [write("counter", 1, most - 5n), write("counter", 2, 5n)], causality).value).toBe(most);
    expect(decide({ kind: "counter" }, [write("counter", 1, most), write("counter", 2, 5n)], causality).value).toBe(Number(most));
    const low = write("counter", 1, -most, [write("counter", 2, most)]);
    expect(low.tally).toMatchObject({ totals: [{ origin: 2 }, { origin: 1, sum: Number(-2n * most) }] });
    expect(decide({ kind: "counter" }, [write("counter", 1, 0.5), write("counter", 2, 2n)], causality).value).toBe(2.5);
  });
});

test("elements are told apart by what they are, not by how they are written", () => {
  expect(
    elementsOf(' [ 1, 1.0, 12345678901234567890, 12345678901234567891, "\\u0061", "a", {"b":1,"a":[]}, { "a":[ ], "b":1 } ] '),
  ).toEqual(["1", "1.0", "12345678901234567890", "12345678901234567891", '"a"', '{"a":[],"b":1}']);
});

test("values are ordered as SQLite orders them", () => {
  const ordered: CellValue[] = [
    null,
    -1e300,
    -5n,
    2n ** 53n,
    2 ** 53 + 2,
    2n ** 53n + 3n,
    "A",
    "a",
    "ab",
    "é",
    Buffer.from([0]),
    Buffer.from([0, 1]),
  ];
  expect(ordered.toReversed().sort(compareValues)).toEqual(ordered);
});

describe("terms", () => {
  test("are equal where they mean the same", () => {
    const one = parseTerms(["Match.Score=max", "user.role = prefer:hub, shop", "stock.count=lww"]);
    const other = parseTerms(["user.role=prefer:hub,shop", "match.score=max"]);
    expect(formatTerms(one)).toBe(formatTerms(other));
    expect(formatTerms(parseTerms([]))).toBe("");
    expect(RULES.map((rule) => parseRule(formatRule(rule)))).toEqual(RULES);
  });

  test("that differ are named, each column with both rules", () => {
    const here = formatTerms(parseTerms(["match.score=max", "user.role=prefer:hub", "team.tags=set"]));
    const there = formatTerms(parseTerms(["match.score=min", "team.tags=set"]));
    expect(() => checkTerms("main", here, there)).toThrow(
      /different rules for columns of "main": match\.score \(here max, there min\), user\.role \(here prefer:hub, there lww\)\./,
    );
    expect(() => checkTerms("main", here, here)).not.toThrow();
  });

  test.each(["score=max", "a.b", "a.b=greatest", "a.b=max:hub", "a.b=prefer", "a.b=prefer:", "a.b=prefer:x,,y"])(
    "%s is refused",
    (entry) => {
      expect(() => parseTerms([entry])).toThrow(/Write/);
    },
  );
});
