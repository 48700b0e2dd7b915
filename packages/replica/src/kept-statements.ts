import { cameLarge, collectLarge } from "./pool/collect.ts";
import { ownedMemory, releasePacked } from "@scoutsync/core";
import type { Database, RunResult, Statement } from "better-sqlite3";

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

/** Stands in SQL for one of the values that are given, and is that value. */
const GIVEN = "scoutsync_given";
const givenTo = new WeakMap<Database, { packed: readonly (Buffer | null)[] }>();

/** True where `runReleasing` saves memory: one of these is large. */
export const isAnyLarge = (packed: readonly (Buffer | null)[]): boolean =>
  packed.some((value) => value !== null && ownedMemory(value) !== null);

/**
 * Runs a statement that stores `values`, of which nobody reads the `packed` ones again. SQLite copies a value when it is given it, and once
 * more into the row that it makes: a large packed one is given back in between, when SQLite asks for what stands as `afterGiven` in `sql`.
 */
export function runReleasing(db: Database, sql: string, values: readonly unknown[], packed: readonly (Buffer | null)[]): RunResult {
  let given = givenTo.get(db);
  if (!given) {
    const its = (given = { packed: [] as readonly (Buffer | null)[] });
    givenTo.set(db, its);
    db.function(GIVEN, { deterministic: false, directOnly: true }, (value: unknown) => {
      its.packed.forEach(releasePacked);
      return value;
    });
  }
  given.packed = packed;
  cameLarge(packed);
  collectLarge();
  try {
    return db
      .prepare(sql)
      .safeIntegers(true)
      .run(...values);
  } finally {
    given.packed = [];
  }
}

export const afterGiven = `${GIVEN}(?)`;
