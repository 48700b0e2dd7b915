import { compareValues, elementsOf } from "./combine.ts";
import type { CellValue } from "./bytes.ts";
import type { Rule } from "./rules.ts";

/**
 * What a column comes to that two databases changed apart from each other, `one` and `other` from `base` (null where they had
 * not agreed on a value yet): as `decide`, for who knows values and nothing of who wrote them. Undefined where that needs a
 * person, as it does without a rule.
 */
export function mergeApart({ kind }: Rule, base: CellValue, one: CellValue, other: CellValue): CellValue | undefined {
  if (kind === "max" || kind === "min") return compareValues(one, other) >= 0 === (kind === "max") ? one : other;
  if (kind === "counter") return sumApart(base, one, other);
  if (kind !== "set") return undefined;
  const [before, mine, theirs] = [base === null ? [] : elementsOf(base), elementsOf(one), elementsOf(other)];
  if (!before || !mine || !theirs) return undefined;
  const kept = mine.filter((element) => theirs.includes(element) || !before.includes(element));
  const added = theirs.filter((element) => !before.includes(element) && !mine.includes(element));
  return `[${[...kept, ...added].join(",")}]`;
}

const LARGEST = 2n ** 63n - 1n;

function sumApart(base: CellValue, one: CellValue, other: CellValue): CellValue | undefined {
  const before = base ?? 0n;
  if (!isNumber(before) || !isNumber(one) || !isNumber(other)) return undefined;
  if (typeof before !== "bigint" || typeof one !== "bigint" || typeof other !== "bigint")
    return Number(one) + (Number(other) - Number(before));
  const sum = one + other - before;
  // As SQLite adds: what is too large for 64 bits becomes a real.
  return sum > LARGEST || sum < -LARGEST - 1n ? Number(sum) : sum;
}

const isNumber = (value: CellValue): value is bigint | number => typeof value === "bigint" || Number.isFinite(value);
