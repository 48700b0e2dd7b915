import { fc } from "../../../packages/core/test/seeded.ts";
import { expect, test } from "vitest";
import { RefusalPace } from "../src/files/refusals.ts";

const MINUTE_MS = 60_000;
const HOUR_MS = 60 * MINUTE_MS;

/** Lines of refusals at these times, of one of so many things. */
function paced(refusals: readonly { after: number; what: number }[]) {
  const pace = new RefusalPace(0);
  let now = 0;
  const lines: { at: number; what: number; more: number }[] = [];
  for (const { after, what } of refusals) {
    now += after;
    const line = pace.line({ timeUs: 0, peer: "liar", what: `thing ${what}` }, now);
    if (line !== null) lines.push({ at: now, what, more: Number(/\(and (\d+) others before it\)/.exec(line)?.[1] ?? 0) });
  }
  return { lines, now };
}

test("a peer that is refused for ever new things gets some lines at once and then one a minute", () => {
  const refusal = fc.record({ after: fc.nat(MINUTE_MS), what: fc.nat(400) });
  fc.assert(
    fc.property(fc.array(refusal, { maxLength: 600 }), (refusals) => {
      const { lines, now } = paced(refusals);
      expect(lines.length).toBeLessThanOrEqual(50 + now / MINUTE_MS);
      // The same is told again after an hour at the earliest.
      for (const [at, line] of lines.entries())
        expect(lines.slice(0, at).filter(({ what, at: before }) => what === line.what && before > line.at - HOUR_MS)).toEqual([]);
    }),
    { numRuns: 60 },
  );
});

test("those without a line of their own are counted in the next one", () => {
  const flood = Array.from({ length: 1_000 }, (_, what) => ({ after: 0, what }));
  const { lines } = paced([...flood, { after: MINUTE_MS, what: 2_000 }, { after: MINUTE_MS, what: 2_001 }]);
  expect(lines.map(({ what }) => what)).toEqual([...Array.from({ length: 50 }, (_, what) => what), 2_000, 2_001]);
  expect(lines.map(({ more }) => more).slice(49)).toEqual([0, 950, 0]);
});
