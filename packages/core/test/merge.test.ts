import { describe, expect, test } from "vitest";
import { type Causality, compareWrites, concurrent, knew, mergeWrite, winnerOf, type Write } from "../src/index.ts";
import { fc } from "./seeded.ts";

/** What happens on one of several replicas: a local write of the register, or everything another replica holds arrives. */
interface Step {
  at: number;
  from: number | null;
  /** The writer's clock, which may be anything. */
  clock: number;
}

const ORIGINS = 4;

const steps = fc.array(
  fc.record({
    at: fc.nat(ORIGINS - 1),
    from: fc.option(fc.nat(ORIGINS - 1)),
    clock: fc.integer({ min: 1, max: 20 }),
  }),
  { minLength: 1, maxLength: 24 },
);

/** Writes of one register as replicas that met now and then made them, with the contexts their authors had. */
function historyOf(happened: readonly Step[]): { writes: Write[]; causality: Causality; registers: (readonly Write[])[] } {
  const contexts: ReadonlyMap<number, number>[] = [new Map()];
  // Local numbers say nothing about the order that all agree on: here it is the other way round.
  const causality: Causality = {
    compareOrigins: (a, b) => b - a,
    contextCovers: (context, origin, sequence) => (contexts[context]?.get(origin) ?? 0) >= sequence,
    sourceOf: () => undefined,
  };
  const vectors = Array.from({ length: ORIGINS }, () => new Map<number, number>());
  const registers: (readonly Write[])[] = Array.from({ length: ORIGINS }, () => []);
  const writes: Write[] = [];
  for (const { at, from, clock } of happened) {
    const vector = vectors[at]!;
    if (from === null) {
      const sequence = (vector.get(at) ?? 0) + 1;
      const context = contexts.push(new Map(vector)) - 1;
      // A new write's timestamp exceeds its register's, whatever the clock says.
      const time = Math.max(clock, ...registers[at]!.map((held) => held.time + 1));
      const write = { origin: at, sequence, time, context };
      writes.push(write);
      vector.set(at, sequence);
      registers[at] = mergeWrite(registers[at]!, write, causality);
    } else {
      for (const write of registers[from]!) registers[at] = mergeWrite(registers[at]!, write, causality);
      for (const [origin, sequence] of vectors[from]!) vector.set(origin, Math.max(sequence, vector.get(origin) ?? 0));
    }
  }
  return { writes, causality, registers };
}

const dots = (register: readonly Write[]) => register.map(({ origin, sequence }) => `${origin}:${sequence}`).sort();
const mergeAll = (writes: readonly Write[], causality: Causality) =>
  writes.reduce<readonly Write[]>((register, write) => mergeWrite(register, write, causality), []);

/** A history, and its writes in two orders that have nothing to do with how it happened. */
const shuffled = steps.chain((happened) => {
  const history = historyOf(happened);
  const anyOrder = fc.shuffledSubarray(history.writes, { minLength: history.writes.length });
  return fc.tuple(fc.constant(history), anyOrder, anyOrder);
});

describe("the merge rule", () => {
  test("gives the same writes and the same winner in whatever order they arrive", () => {
    fc.assert(
      fc.property(shuffled, ([{ causality }, one, other]) => {
        const a = mergeAll(one, causality);
        const b = mergeAll(other, causality);
        expect(dots(a)).toEqual(dots(b));
        expect(winnerOf(a, causality)).toEqual(winnerOf(b, causality));
      }),
      { numRuns: 1_000 },
    );
  });

  test("is associative: registers merged in any grouping are the same", () => {
    fc.assert(
      fc.property(shuffled, fc.nat(), ([{ causality }, order], cut) => {
        const at = order.length === 0 ? 0 : cut % order.length;
        const [left, right] = [mergeAll(order.slice(0, at), causality), mergeAll(order.slice(at), causality)];
        const grouped = right.reduce((register, write) => mergeWrite(register, write, causality), left);
        expect(dots(grouped)).toEqual(dots(mergeAll(order, causality)));
      }),
      { numRuns: 500 },
    );
  });

  test("is idempotent: what comes again changes nothing and costs no new array", () => {
    fc.assert(
      fc.property(shuffled, ([{ causality }, order]) => {
        const merged = mergeAll(order, causality);
        for (const write of order) expect(mergeWrite(merged, write, causality)).toBe(merged);
      }),
      { numRuns: 500 },
    );
  });

  test("keeps exactly the writes that no later author knew", () => {
    fc.assert(
      fc.property(shuffled, ([{ causality, writes }, order]) => {
        const unknown = writes.filter(
          (write) => !writes.some((later) => later !== write && knew(later, write.origin, write.sequence, causality)),
        );
        const merged = mergeAll(order, causality);
        expect(dots(merged)).toEqual(dots(unknown));
        const related = merged.flatMap((a) => merged.filter((b) => a !== b && !concurrent(a, b, causality)));
        expect(related).toEqual([]);
      }),
      { numRuns: 500 },
    );
  });

  test("never lets a write lose against one that its author knew", () => {
    fc.assert(
      fc.property(steps, (happened) => {
        const { writes, causality } = historyOf(happened);
        for (const later of writes) {
          for (const earlier of writes.filter((write) => write !== later && knew(later, write.origin, write.sequence, causality))) {
            expect(mergeWrite([earlier], later, causality)).toEqual([later]);
            expect(mergeWrite([later], earlier, causality)).toEqual([later]);
          }
        }
      }),
      { numRuns: 300 },
    );
  });

  test("gives every replica that has met all others the register of all writes", () => {
    fc.assert(
      fc.property(steps, (happened) => {
        const everyoneMeets = [0, 1, 2, 3].flatMap((at) => [0, 1, 2, 3].map((from) => ({ at, from, clock: 1 })));
        const { writes, causality, registers } = historyOf([...happened, ...everyoneMeets, ...everyoneMeets]);
        for (const register of registers) expect(dots(register)).toEqual(dots(mergeAll(writes, causality)));
      }),
      { numRuns: 300 },
    );
  });
});

describe("the order of concurrent writes", () => {
  const causality: Causality = { compareOrigins: (a, b) => a - b, contextCovers: () => false, sourceOf: () => undefined };
  const write = fc.record({ time: fc.nat(3), origin: fc.nat(2), sequence: fc.integer({ min: 1, max: 3 }), context: fc.constant(0) });

  test("is by time, then origin, then sequence", () => {
    const of = (time: number, origin: number, sequence: number): Write => ({ time, origin, sequence, context: 0 });
    expect(compareWrites(of(2, 0, 1), of(1, 9, 9), causality)).toBeGreaterThan(0);
    expect(compareWrites(of(1, 2, 1), of(1, 1, 9), causality)).toBeGreaterThan(0);
    expect(compareWrites(of(1, 1, 2), of(1, 1, 1), causality)).toBeGreaterThan(0);
    expect(compareWrites(of(1, 1, 1), of(1, 1, 1), causality)).toBe(0);
  });

  test("asks for the order of origins that all agree on: local numbers differ from replica to replica", () => {
    const reversed: Causality = { ...causality, compareOrigins: (a, b) => b - a };
    const [one, two] = [1, 2].map((origin) => ({ time: 1, origin, sequence: 1, context: 0 })) as [Write, Write];
    expect(winnerOf([one, two], causality)).toBe(two);
    expect(winnerOf([one, two], reversed)).toBe(one);
  });

  test("is total: antisymmetric and transitive", () => {
    fc.assert(
      fc.property(write, write, write, (a, b, c) => {
        expect(Math.sign(compareWrites(a, b, causality))).toBe(0 - Math.sign(compareWrites(b, a, causality)));
        const chained = compareWrites(a, b, causality) > 0 && compareWrites(b, c, causality) > 0;
        expect(!chained || compareWrites(a, c, causality) > 0).toBe(true);
      }),
    );
  });

  test("an author knows what it wrote before, and not what it wrote after", () => {
    const [first, second] = [1, 2].map((sequence) => ({ origin: 1, sequence, time: sequence, context: 0 })) as [Write, Write];
    expect(knew(second, 1, 1, causality)).toBe(true);
    expect(knew(first, 1, 2, causality)).toBe(false);
    expect(concurrent(first, second, causality)).toBe(false);
  });

  test("nothing wins where there is nothing", () => {
    expect(winnerOf([], causality)).toBeUndefined();
  });
});
