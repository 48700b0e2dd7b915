import { type CellValue, RawText, Ref } from "../src/index.ts";
import { fc } from "./seeded.ts";

/** Anything a column of a change can hold. NaN is not among them: SQLite stores it as NULL. */
export const cell: fc.Arbitrary<CellValue> = fc.oneof(
  fc.constant(null),
  fc.bigInt({ min: -(2n ** 63n), max: 2n ** 63n - 1n }),
  fc.bigInt({ min: -70_000n, max: 70_000n }),
  fc.double({ noNaN: true }),
  fc.string({ unit: "binary" }),
  fc.uint8Array().map((bytes) => Buffer.from(bytes)),
  fc.uint8Array().map((bytes) => new RawText(bytes)),
  fc.tuple(fc.nat(), fc.maxSafeNat()).map(([origin, sequence]) => new Ref(origin, sequence)),
);

/** The same class and the same bits. */
export function sameCell(a: CellValue, b: CellValue): boolean {
  if (a instanceof Ref && b instanceof Ref) return a.origin === b.origin && a.sequence === b.sequence;
  if (a instanceof RawText && b instanceof RawText) return Buffer.compare(a.bytes, b.bytes) === 0;
  if (a instanceof Uint8Array && b instanceof Uint8Array) return Buffer.compare(a, b) === 0;
  return Object.is(a, b);
}
