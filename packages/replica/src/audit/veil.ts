import { type HistoryEntry, type ReadableChange, type Review, type ReviewVersion, type SqlValue, SyncError } from "@scoutsync/core";
import { valueText } from "../rows/values.ts";

/** Stands where a sensitive value would. */
export const VEILED = "(sensitive)";
/** A shorter text is in any sentence. */
const SHORTEST_IN_TEXT = 3;

interface KnownTable {
  name: string;
  key: readonly { name: string }[];
  columns: readonly { name: string }[];
}

type Columns = { name: string; value: SqlValue }[];

/**
 * Keeps sensitive columns out of everything that people look at: lists of conflicts, histories, changes as text, and
 * what is logged or said in errors. What travels between replicas is as it was.
 */
export class Veil {
  readonly #entries: ReadonlySet<string>;
  readonly #known: () => readonly KnownTable[];

  /** `sensitive`: `table` or `table.column`. `known` are the tables there are now. */
  constructor(sensitive: readonly string[], known: () => readonly KnownTable[]) {
    // As SQLite compares names.
    this.#entries = new Set(sensitive.map((entry) => entry.toLowerCase()));
    this.#known = known;
  }

  /** Entries that name no table or column there is now. */
  get unknown(): string[] {
    if (this.#entries.size === 0) return [];
    const names = this.#known().flatMap(({ name, columns }) => [name, ...columns.map((column) => `${name}.${column.name}`)]);
    const there = new Set(names.map((name) => name.toLowerCase()));
    return [...this.#entries].filter((entry) => !there.has(entry));
  }

  /** Tables whose keys are sensitive. */
  get keyTables(): string[] {
    if (this.#entries.size === 0) return [];
    return this.#known()
      .filter(({ name, key }) => key.some((column) => this.#covers(name, column.name)))
      .map(({ name }) => name);
  }

  key(table: string, text: string): string {
    return text !== "" && this.keyTables.includes(table) ? VEILED : text;
  }

  /** Of a row whose table has another key now: any column that is sensitive may have been the key. */
  formerKey(table: string, text: string): string {
    const entries = [...this.#entries];
    return entries.some((entry) => entry.split(".", 1)[0] === table.toLowerCase()) ? VEILED : text;
  }

  columns(table: string, columns: Columns): Columns {
    return columns.map(({ name, value }) => ({ name, value: this.#value(table, name, value) }));
  }

  review(review: Review): Review {
    if (this.#entries.size === 0) return review;
    const { table, column, image } = review;
    const version = (of: ReviewVersion | null) => of && { ...of, value: this.#value(table, column ?? "", of.value) };
    return {
      ...review,
      key: this.key(table, review.key),
      winner: version(review.winner),
      loser: version(review.loser),
      image: image && this.columns(table, image),
      reason: this.#text(table, image ?? [], review.reason),
    };
  }

  history(table: string, entries: readonly HistoryEntry[]): HistoryEntry[] {
    return entries.map((entry) => ({
      ...entry,
      value: entry.column === null ? entry.value : this.#value(table, entry.column, entry.value),
    }));
  }

  change(change: ReadableChange): ReadableChange {
    return { ...change, key: this.key(change.table, change.key), columns: this.columns(change.table, change.columns) };
  }

  /** Runs `work` about the row of a key; an error of it does not repeat a sensitive one. */
  about<T>(table: string, text: string, work: () => T): T {
    try {
      return work();
    } catch (error) {
      if (!(error instanceof SyncError) || this.key(table, text) === text) throw error;
      const { code, message, action } = error;
      throw new SyncError({ code, message: message.replaceAll(text, VEILED), action: action.replaceAll(text, VEILED) });
    }
  }

  #covers(table: string, column: string): boolean {
    if (this.#entries.has(table.toLowerCase()) || this.#entries.has(`${table}.${column}`.toLowerCase())) return true;
    // It may have had the values of a column that goes by another name now.
    return [...this.#entries].some((entry) => entry.startsWith(`${table.toLowerCase()}.`)) && this.#isGone(table, column);
  }

  #isGone(table: string, column: string): boolean {
    const known = this.#known().find(({ name }) => name === table);
    return column !== "" && ![...(known?.key ?? []), ...(known?.columns ?? [])].some(({ name }) => name === column);
  }

  /** That there is no value says nothing about it. */
  #value(table: string, column: string, value: SqlValue): SqlValue {
    return value !== null && this.#covers(table, column) ? VEILED : value;
  }

  /** What a constraint or trigger of the application says may hold a value of the row. */
  #text(table: string, image: Columns, text: string): string {
    let veiled = text;
    for (const { name, value } of image) {
      const said = valueText(value);
      if (value !== null && said.length >= SHORTEST_IN_TEXT && this.#covers(table, name)) veiled = veiled.replaceAll(said, VEILED);
    }
    return veiled;
  }
}
