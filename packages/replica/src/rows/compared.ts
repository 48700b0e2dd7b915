import type { Affinity } from "../schema/tables.ts";
import { asHeld, type Bindable } from "./values.ts";

const isNumeric = (affinity: Affinity): boolean => affinity !== "TEXT" && affinity !== "BLOB";

/**
 * A condition for a column to refer to a value of a column of another affinity. `+` takes the column's own affinity away, so that it gets
 * that of the other side, which a bound value has none of. Returns SQL and what to bind to it, in order.
 */
export function refersTo(
  { name, affinity, collation }: { name: string; affinity: Affinity; collation: string },
  wanted: { value: Bindable; isRaw: boolean; affinity: Affinity },
): { sql: string; values: Bindable[] } {
  const { value } = wanted;
  const isText = typeof value === "string" || wanted.isRaw;
  const bound = wanted.isRaw ? "CAST(? AS TEXT)" : "?";
  const equal = { sql: `${name} = ${bound} COLLATE ${collation}`, values: [value] };
  if (affinity === wanted.affinity || (isNumeric(affinity) && isNumeric(wanted.affinity))) return equal;
  const isNumber = typeof value === "bigint" || typeof value === "number";
  const given =
    isText && wanted.affinity === "TEXT" ? "CAST(? AS TEXT)" : isNumber && isNumeric(wanted.affinity) ? "CAST(? AS NUMERIC)" : bound;
  const exact = { sql: `+${name} = ${given} COLLATE ${collation}`, values: [value] };
  if (isNumber && isNumeric(wanted.affinity)) return exact;
  if (typeof value !== "string" || wanted.affinity === "BLOB" || affinity !== "BLOB")
    return { sql: `${equal.sql} AND ${exact.sql}`, values: [value, value] };
  const number = asHeld("NUMERIC", value);
  if (typeof number === "number") return exact;
  const either = typeof number === "bigint" ? { sql: `(${equal.sql} OR ${name} = ?)`, values: [value, number] } : equal;
  return { sql: `${either.sql} AND ${exact.sql}`, values: [...either.values, value] };
}
