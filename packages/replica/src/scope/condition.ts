import { SyncError } from "@scoutsync/core";
import { quote } from "../schema/quote.ts";

/** A column has one of these values. */
export interface Comparison {
  column: string;
  values: readonly (bigint | string)[];
}

/** Values that one comparison may list. */
const MOST_VALUES = 1_000;

const TOKEN = /\s*(?:([A-Za-z_][A-Za-z0-9_]*)|"((?:[^"]|"")+)"|(-?\d{1,18})(?![\w.])|'((?:[^']|'')*)'|([=(),]))/y;

interface Token {
  kind: "word" | "name" | "number" | "text" | "sign";
  text: string;
}

/**
 * Reads `column = literal` and `column IN (literal, …)`, joined by AND. Literals are whole numbers and texts in single
 * quotes. There is nothing else in this language: what comes of it is built here, and no text of it becomes SQL as it
 * stands. Throws INVALID_ARGUMENT.
 */
export function parseCondition(text: string): Comparison[] {
  const tokens = tokensOf(text);
  let at = 0;
  const take = (kinds: readonly Token["kind"][], wanted: string): Token => {
    const token = tokens[at++];
    if (!token || !kinds.includes(token.kind))
      throw unreadable(text, `expected ${wanted}${token ? ` where "${token.text}" stands` : " at its end"}`);
    return token;
  };
  const sign = (wanted: string) => {
    if (take(["sign"], `"${wanted}"`).text !== wanted) throw unreadable(text, `expected "${wanted}"`);
  };
  const isWord = (word: string) => tokens[at]?.kind === "word" && tokens[at]?.text.toUpperCase() === word;
  const literal = (): bigint | string => {
    const { kind, text: value } = take(["number", "text"], "a whole number or a text in single quotes");
    return kind === "number" ? BigInt(value) : value;
  };
  const comparisons: Comparison[] = [];
  for (;;) {
    const column = take(["word", "name"], "a column").text;
    const values: (bigint | string)[] = [];
    if (isWord("IN")) {
      at++;
      sign("(");
      values.push(literal());
      while (tokens[at]?.text === "," && tokens[at]?.kind === "sign") {
        at++;
        values.push(literal());
      }
      sign(")");
    } else {
      sign("=");
      values.push(literal());
    }
    if (values.length > MOST_VALUES) throw unreadable(text, `more than ${MOST_VALUES} values`);
    comparisons.push({ column, values });
    if (at === tokens.length) return comparisons;
    if (!isWord("AND")) throw unreadable(text, `expected AND where "${tokens[at]?.text ?? ""}" stands`);
    at++;
  }
}

function tokensOf(text: string): Token[] {
  const tokens: Token[] = [];
  const trimmed = text.trim();
  TOKEN.lastIndex = 0;
  while (TOKEN.lastIndex < trimmed.length) {
    const from = TOKEN.lastIndex;
    const match = TOKEN.exec(trimmed);
    if (!match) throw unreadable(text, `"${trimmed.slice(from, from + 20).trim()}" is not understood`);
    const [, word, name, number, literal, sign] = match;
    if (word !== undefined) tokens.push({ kind: "word", text: word });
    else if (name !== undefined) tokens.push({ kind: "name", text: name.replaceAll('""', '"') });
    else if (number !== undefined) tokens.push({ kind: "number", text: number });
    else if (literal !== undefined) tokens.push({ kind: "text", text: literal.replaceAll("''", "'") });
    else tokens.push({ kind: "sign", text: sign ?? "" });
  }
  return tokens;
}

/** The comparisons as SQL about the row `alias`; true for none. */
export function conditionSql(alias: string, comparisons: readonly Comparison[]): string {
  if (comparisons.length === 0) return "1";
  const sqlOf = (value: bigint | string) => (typeof value === "bigint" ? String(value) : `'${value.replaceAll("'", "''")}'`);
  return comparisons.map(({ column, values }) => `${alias}.${quote(column)} IN (${values.map(sqlOf).join(", ")})`).join(" AND ");
}

function unreadable(text: string, why: string): SyncError {
  return new SyncError({
    code: "INVALID_ARGUMENT",
    message: `the condition "${text.slice(0, 200)}" of a scope cannot be read: ${why}`,
    action: "Write it as COLUMN = VALUE or COLUMN IN (VALUE, …), joined by AND, with whole numbers or texts in single quotes.",
  });
}
