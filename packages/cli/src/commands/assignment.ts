import type { ColumnValue, Value } from "@scoutsync/protocol";
import { usageError } from "../exit.ts";

const WAY_OUT = "Write COLUMN=TEXT, or COLUMN:=LITERAL with NULL, 12, 1.5, 'text' or x'00ff'.";

/**
 * `COLUMN=TEXT` or `COLUMN:=LITERAL`. Plain text is the default because the column's own type turns "12" into an
 * integer where it is one, and leaves "007" alone where it is not.
 */
export function parseAssignment(text: string): ColumnValue {
  const match = /^(.+?)(:?=)(.*)$/s.exec(text);
  const [, name = "", sign, value = ""] = match ?? [];
  if (!match) throw usageError(`"${text}" is not COLUMN=VALUE`, WAY_OUT);
  return { name, value: sign === ":=" ? parseLiteral(value) : { kind: { $case: "text", value } }, base: undefined };
}

function parseLiteral(text: string): Value {
  const literal = text.trim();
  if (/^null$/i.test(literal)) return { kind: { $case: "null", value: true } };
  const integer = /^[+-]?\d+$/.test(literal) ? BigInt(literal.replace("+", "")) : null;
  if (integer !== null && BigInt.asIntN(64, integer) === integer) return { kind: { $case: "integer", value: integer } };
  if (/^[+-]?(\d+\.?\d*|\.\d+)(e[+-]?\d+)?$/i.test(literal)) return { kind: { $case: "real", value: Number(literal) } };
  const quoted = /^'((?:[^']|'')*)'$/s.exec(literal);
  if (quoted) return { kind: { $case: "text", value: (quoted[1] ?? "").replaceAll("''", "'") } };
  const hex = /^x'((?:[0-9a-f]{2})*)'$/i.exec(literal);
  if (hex) return { kind: { $case: "blob", value: Buffer.from(hex[1] ?? "", "hex") } };
  throw usageError(`${text} is not a SQL literal`, WAY_OUT);
}
