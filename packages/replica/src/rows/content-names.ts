import { type CellValue, Ref, type SqlValue } from "@scoutsync/core";
import type { Table } from "../schema/catalog.ts";
import { hashedIn } from "../schema/spelled.ts";
import { packKey, rowHash } from "./values.ts";

/** Bytes of what a row held, hashed, and of the name of an origin. */
const CONTENT_BYTES = 16;
const ORIGIN_BYTES = 16;

/**
 * What a row without a key holds, as 16 bytes that are the same in every copy of the file: its columns by name, in whatever order
 * the table has them.
 */
export function contentOf(table: Pick<Table, "columns">, values: readonly SqlValue[]): Buffer {
  const order = table.columns.map((column, i) => ({ name: column.name, column, i })).sort((a, b) => (a.name < b.name ? -1 : 1));
  return rowHash(
    { name: "" },
    null,
    order.flatMap(({ name, column, i }) => [name, hashedIn(column, values[i] as SqlValue)]),
  );
}

/** What names the n-th row with this content of a table, in every copy of the file. */
export const contentName = (content: Buffer, copy: number): Buffer => rowHash({ name: "" }, BigInt(copy), [content]);

/**
 * The packed identity of a row without a key that was there before syncing: what it held then, with the origin that its file's rows
 * have. Without the origin it is the row of all the copies that were joined as shared.
 */
export function contentIdentity(table: Pick<Table, "key">, name: Buffer, origin: string): Buffer {
  return packKey(table.key, [Buffer.concat([name, Buffer.from(origin, "latin1")])]);
}

/** True for what may name a row without a key: the dot of its birth, or its content before syncing. */
export function isKeylessName(cell: CellValue | undefined): boolean {
  if (cell instanceof Ref) return true;
  return cell instanceof Uint8Array && (cell.length === CONTENT_BYTES || cell.length === CONTENT_BYTES + ORIGIN_BYTES);
}

/** The name of a row without a key, without the origin where that is one of those whose rows are the same. */
export function sharedName(cell: CellValue, isShared: (origin: string) => boolean): CellValue {
  if (!(cell instanceof Uint8Array) || cell.length !== CONTENT_BYTES + ORIGIN_BYTES) return cell;
  const origin = Buffer.from(cell.subarray(CONTENT_BYTES)).toString("latin1");
  return isShared(origin) ? Buffer.from(cell.subarray(0, CONTENT_BYTES)) : cell;
}

/** True for the name that a row without a key has in every copy that was joined as shared. */
export const isSharedName = (cell: CellValue): boolean => cell instanceof Uint8Array && cell.length === CONTENT_BYTES;

/** The name of a row without a key for people; the inverse is `contentCell`. `dotText` names an origin. */
export function keylessText(cell: CellValue, dotText: (origin: number, sequence: number) => string): string {
  if (cell instanceof Ref) return dotText(cell.origin, cell.sequence);
  const bytes = Buffer.from(cell as Uint8Array);
  const content = bytes.subarray(0, CONTENT_BYTES).toString("hex");
  return bytes.length === CONTENT_BYTES ? content : `${bytes.subarray(CONTENT_BYTES).toString("latin1")}=${content}`;
}

/** The name that a text of `keylessText` stands for, where that is no dot; null for every other text. */
export function contentCell(text: string): Buffer | null {
  const [, origin = "", content] = /^(?:([a-z2-7]{16})=)?([0-9a-f]{32})$/.exec(text) ?? [];
  return content === undefined ? null : Buffer.concat([Buffer.from(content, "hex"), Buffer.from(origin, "latin1")]);
}
