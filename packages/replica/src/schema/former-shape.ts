import type { CellValue, SqlValue, Write } from "@scoutsync/core";
import { EARLIEST, maskCount, MASK_BITS, notBefore } from "../capture/triggers.ts";
import type { RowState } from "../rows/row-state.ts";
import { rowHash, valueText } from "../rows/values.ts";
import { type Column, inOrder, type Table } from "./catalog.ts";

/** What a row's hash is made of besides its values: the table's name, and the columns in the order they had. */
export interface Shape {
  name: string;
  columns: string[];
  /** The same columns in the order of the table; not noted by earlier versions. */
  order?: string[];
  /** Of a comparison, on all of its shapes: nothing but rebuilding the table went past capture. */
  rebuilt?: true;
}

/** How to tell a row whose hash was made under a former shape of its table. */
export class FormerShape {
  /** All columns that the hash was made of are still there. */
  readonly isWhole: boolean;
  /** As of a `Shape`. */
  readonly isRebuilt: boolean;
  /** Numbers of the columns that came since. */
  readonly added: number[];
  private readonly table: Table;
  private readonly shape: Shape;
  private readonly positions: number[];
  /** Numbers of the columns that went. */
  private readonly gone: number[];
  /** Null where nothing but their values may tell. */
  private readonly places: Places | null;
  private readonly guesses: readonly SqlValue[][];

  constructor(table: Table, shape: Shape) {
    this.table = table;
    this.shape = shape;
    this.added = table.columns.filter(({ name }) => !shape.columns.includes(name)).map(({ cid }) => cid);
    const gone = new Map([...table.lacking].map(([cid, name]) => [name, cid]));
    this.gone = shape.columns.flatMap((name) => gone.get(name) ?? []);
    this.places = placesOf(table, shape, gone);
    const index = new Map(table.columns.map((column, i) => [column.name, i]));
    this.isWhole = shape.columns.every((name) => index.has(name));
    const now = new Map([...(this.places?.now ?? [])].map(([was, cid]) => [table.lacking.get(was), table.indexOf.get(cid)]));
    this.positions = shape.columns.map((name) => index.get(name) ?? now.get(name) ?? -1);
    this.isRebuilt = shape.rebuilt === true;
    this.guesses = guessesFor(this.positions.filter((i) => i < 0).length);
  }

  /** The hash that a row of these (`hashedCells`, as `asHashed`) had under the former shape, which must be whole. */
  hash(id: bigint | null, cells: readonly CellValue[]): Buffer {
    const former = this.positions.map((i) => cells[i] as CellValue);
    return rowHash({ name: this.shape.name }, id, former);
  }

  /**
   * True when a row of these (`hashedCells`) had this hash under the former shape: with what most rows hold in columns that went. Of one
   * that held something else there nobody can tell.
   */
  isThatOf(hash: Buffer, id: bigint | null, cells: readonly CellValue[]): boolean {
    for (const likely of this.likelyHashes(id, cells)) if (Buffer.compare(likely, hash) === 0) return true;
    return false;
  }

  /** The hashes by which `isThatOf` knows a row of these. */
  *likelyHashes(id: bigint | null, cells: readonly CellValue[]): Generator<Buffer> {
    for (const gone of this.guesses) {
      let at = 0;
      const former = this.positions.map((i) => (i < 0 ? gone[at++] : cells[i]) as CellValue);
      yield rowHash({ name: this.shape.name }, id, former);
    }
  }

  /**
   * True of a row of these (`values` as `cells`, `hashedCells`) by whose hash no column has moved up in the place of another one: its last
   * two differ, so that one which had moved would hold something else. `inPlace` below.
   */
  isInPlace(hash: Buffer | null, id: bigint | null, values: readonly SqlValue[], cells: readonly CellValue[]): boolean {
    const [a, b] = (this.places?.last ?? []).map((cid) => values[this.table.indexOf.get(cid) as number] as SqlValue);
    return hash !== null && a !== undefined && b !== undefined && differs(a, b) && this.isThatOf(hash, id, cells);
  }

  /** Columns that came since and hold what somebody wrote: more than their default, or that where it `wasWritten`. */
  told(values: readonly SqlValue[], state: RowState | null, inPlace: boolean): Column[] {
    const isTold = ({ cid, fallback }: Column, index: number) =>
      this.added.includes(cid) &&
      (differs(values[index] as SqlValue, fallback) || (state !== null && this.wasWritten(state, cid, inPlace)));
    return this.table.columns.filter(isTold);
  }

  /** The same as masks. */
  written(values: readonly SqlValue[], state: RowState | null, inPlace: boolean): bigint[] {
    const told = this.told(values, state, inPlace);
    return maskOf(this.table, (index) => told.includes(this.table.columns[index] as Column));
  }

  /**
   * A column that came has its default, and may have been one that somebody edited in this row: since all that is known to have been written
   * under the new name. Untold, what others had seen before would be back.
   */
  wasWritten(state: RowState, cid: number, inPlace: boolean): boolean {
    const latest = (of: number) => Math.max(0, ...(state.columns.get(of) ?? []).map(({ time }) => time));
    return this.added.includes(cid) && this.mayHaveBeen(cid, inPlace).some((of) => latest(of) > latest(cid));
  }

  /** True where the column which came has that one's place. */
  isPlaced(cid: number, was: number): boolean {
    return this.places?.now.get(was) === cid;
  }

  /** Numbers of the columns that one which came may have been; none where it is a new one. */
  mayHaveBeen(cid: number, inPlace: boolean): readonly number[] {
    if (this.places) return (this.places.mayBe.get(cid) ?? []).slice(0, inPlace ? 1 : undefined);
    return this.gone.length >= this.added.length ? this.gone : [];
  }

  /**
   * The days, for events, of what a row has in columns that came, by number: each right after what the one that it was had last, where that is
   * not known right after all that went. Of one that names the row, and of rows that are one, which may show what another of them says, one day
   * for all columns (null), right after the row's latest write.
   */
  daysOf(state: RowState, came: readonly { cid: number }[], inPlace: boolean): Map<number | null, bigint | number> {
    const { table, birth, twins, columns, same } = state;
    if (came.length === 0) return new Map();
    const isKey = !table.surrogate && table.key.some(({ cid }) => came.some((column) => column.cid === cid));
    if (this.gone.length === 0 || isKey || same.length > 0) return new Map([[null, EARLIEST]]);
    const after = (gone: readonly number[]) => {
      const writes = gone.flatMap((cid): readonly Write[] => columns.get(cid) ?? [birth, ...twins]);
      return notBefore(Math.max(0, ...writes.map(({ time }) => time)) + 1);
    };
    return new Map(
      came.map(({ cid }) => {
        const were = this.mayHaveBeen(cid, inPlace);
        return [cid, after(were.length > 0 ? were : this.gone)];
      }),
    );
  }
}

/** What is known of columns that came, by their place among those that stayed. Numbers of columns. */
interface Places {
  /** By a column that came, those that it may have been. */
  mayBe: ReadonlyMap<number, readonly number[]>;
  /** By one that went, the one at its place, where none had to move up. */
  now: ReadonlyMap<number, number>;
  /** The last two that are in the place of others, where each may have moved up. */
  last: readonly number[];
}

/**
 * Which columns have other names: RENAME COLUMN leaves them where they are, a table that a tool makes anew has them in their order, and what
 * is added comes last. Where one of several goes, those after it move up: between two that stayed, each may have been one further on. Null
 * where columns are elsewhere, so that others may have come in the place of those that went.
 */
function placesOf(table: Table, shape: Shape, gone: ReadonlyMap<string, number>): Places | null {
  if (!shape.order) return null;
  const order = inOrder(table);
  const isKept = (name: string) => shape.columns.includes(name) && !gone.has(name);
  const kept = (names: readonly string[]) => names.filter(isKept).join("\n");
  const names = order.map(({ name }) => name);
  if (kept(shape.order) !== kept(names)) return null;
  const went = between(shape.order, isKept).map((part) => part.map((name) => gone.get(name) as number));
  const numbers = new Map(order.map(({ name, cid }) => [name, cid]));
  const came = between(names, isKept).map((part) => part.map((name) => numbers.get(name) as number));
  const last = went.length - 1;
  const spare = went.map((part, i) => part.length - (came[i] as number[]).length);
  const inside = spare.slice(0, last);
  // One that a tool has put last may have been any.
  if (inside.some((count) => count < 0) || ((came[last] as number[]).length > 0 && inside.some((count) => count > 0))) return null;
  const mayBe = new Map<number, readonly number[]>();
  const now = new Map<number, number>();
  for (const [i, part] of came.entries()) {
    const were = went[i] as number[];
    for (const [j, cid] of part.entries()) mayBe.set(cid, were.slice(j, i === last ? undefined : j + 1 + (spare[i] as number)));
    if (part.length >= were.length) for (const [j, was] of were.entries()) now.set(was, part[j] as number);
  }
  const placed = (came[last] as number[]).slice(0, (went[last] as number[]).length);
  return { mayBe, now, last: (spare[last] as number) > 0 ? [] : placed.slice(-2) };
}

/** What is before the first of the kept names, between each two of them, and after the last. */
function between(names: readonly string[], isKept: (name: string) => boolean): string[][] {
  const parts: string[][] = [[]];
  for (const name of names) {
    if (isKept(name)) parts.push([]);
    else parts.at(-1)?.push(name);
  }
  return parts;
}

/** What most rows hold in a column that is dropped. */
const USUAL: readonly SqlValue[] = [null, 0n, "", 1n, 0];

/** Values that so many columns may have held. Of many columns together not all that there could be. */
function guessesFor(count: number): readonly SqlValue[][] {
  if (count > 2) return USUAL.map((value) => Array.from({ length: count }, () => value));
  let guesses: SqlValue[][] = [[]];
  for (let i = 0; i < count; i++) guesses = guesses.flatMap((guess) => USUAL.map((value) => [...guess, value]));
  return guesses;
}

/** Bits of the columns, by position, that are marked. */
export function maskOf(table: Table, isMarked: (index: number) => boolean): bigint[] {
  const masks = Array.from({ length: maskCount(table) }, () => 0n);
  for (const index of table.columns.keys()) {
    const at = Math.floor(index / MASK_BITS);
    if (isMarked(index)) masks[at] = (masks[at] as bigint) | (1n << BigInt(index % MASK_BITS));
  }
  return masks;
}

export const differs = (a: SqlValue, b: SqlValue): boolean => valueText(a) !== valueText(b);
