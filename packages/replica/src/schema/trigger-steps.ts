/** One statement of a trigger's body. */
export interface TriggerStep {
  /** Without the semicolon that ends it. */
  sql: string;
  /** The table or view that it writes to, in lower case; null where it only reads. */
  writes: string | null;
  /** True where it may refuse or skip the write that ran the trigger. */
  raises: boolean;
  /** True where it uses what the statements before it left behind: alone it would do another thing. */
  followsOn: boolean;
}

const LEFT_BEHIND = ["LAST_INSERT_ROWID", "CHANGES", "TOTAL_CHANGES"];

const TOKEN =
  /(?<comment>--[^\n]*|\/\*[\s\S]*?(?:\*\/|$))|(?<name>"(?:[^"]|"")*"|`(?:[^`]|``)*`|\[[^\]]*\]|'(?:[^']|'')*')|(?<word>[\w$\u0080-\uffff]+)|[\s\S]/g;

/** What a statement of a body may begin with. */
const FIRST_WORDS = ["INSERT", "REPLACE", "UPDATE", "DELETE", "SELECT", "WITH", "VALUES"];

interface Token {
  text: string;
  kind: "comment" | "name" | "word" | "other";
}

/** What comes before the body of a trigger of this SQL, BEGIN included, and the statements of the body. */
export function stepsOf(sql: string): { head: string; steps: TriggerStep[] } {
  const tokens = [...sql.matchAll(TOKEN)].map(({ 0: text, groups }): Token => {
    const kind = (["comment", "name", "word"] as const).find((one) => groups?.[one] !== undefined) ?? "other";
    return { text, kind };
  });
  const told = tokens.filter(({ kind, text }) => kind !== "comment" && text.trim() !== "");
  // BEGIN may also be the name of something: the one that begins the body is followed by a statement.
  const begin = told.findIndex((token, i) => isWord(token, "BEGIN") && FIRST_WORDS.some((word) => isWord(told[i + 1], word)));
  const start = begin < 0 ? 0 : tokens.indexOf(told[begin] as Token) + 1;
  const steps: TriggerStep[] = [];
  let from = start;
  for (const [i, { kind, text }] of tokens.entries()) {
    if (i < start || kind !== "other" || text !== ";") continue;
    steps.push(toStep(tokens.slice(from, i)));
    from = i + 1;
  }
  return { head: textOf(tokens.slice(0, start)), steps };
}

function toStep(tokens: readonly Token[]): TriggerStep {
  const told = tokens.filter(({ kind, text }) => kind !== "comment" && text.trim() !== "");
  const calls = (name: string) => told.some((token, i) => isWord(token, name) && told[i + 1]?.text === "(");
  return { sql: textOf(tokens).trim(), writes: written(told), raises: calls("RAISE"), followsOn: LEFT_BEHIND.some(calls) };
}

/** The name after the verb that a statement begins with. */
function written(told: readonly Token[]): string | null {
  const verb = ["INSERT", "REPLACE", "UPDATE", "DELETE"].find((word) => isWord(told[0], word));
  if (verb === undefined) return null;
  let at = isWord(told[1], "OR") ? 3 : 1;
  if (isWord(told[at], "INTO") || isWord(told[at], "FROM")) at++;
  const { text = "", kind } = told[at] ?? {};
  const name = kind === "name" ? text.slice(1, -1).replaceAll(text.at(-1) === "]" ? "]]" : text.slice(-1).repeat(2), text.slice(-1)) : text;
  return name.toLowerCase();
}

const isWord = (token: Token | undefined, word: string) => token?.kind === "word" && token.text.toUpperCase() === word;

const textOf = (tokens: readonly Token[]) => tokens.map(({ text }) => text).join("");
