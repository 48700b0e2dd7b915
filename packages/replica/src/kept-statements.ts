import type { Database, Statement } from "better-sqlite3";

const kept = new WeakMap<Database, Map<string, Statement>>();

/**
 * A statement for what is asked again and again: compiled once per connection, as compiling a small question costs some ten
 * times what answering it does. It may be shared with whoever asks the same, so only `get`, `all` and `run` it, at once,
 * and never change how it gives its rows.
 */
export function rowStatement(db: Database, sql: string): Statement {
  return statement(db, `row ${sql}`, () => db.prepare(sql));
}

/** As `rowStatement`, giving the first column alone. */
export function valueStatement(db: Database, sql: string): Statement {
  return statement(db, `value ${sql}`, () => db.prepare(sql).pluck());
}

function statement(db: Database, name: string, prepare: () => Statement): Statement {
  let statements = kept.get(db);
  if (!statements) kept.set(db, (statements = new Map()));
  let found = statements.get(name);
  if (!found) statements.set(name, (found = prepare()));
  return found;
}
