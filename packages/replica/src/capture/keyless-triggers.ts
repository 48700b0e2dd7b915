import type { Table } from "../schema/catalog.ts";
import { quote } from "../schema/quote.ts";
import { keyIsNull } from "../schema/tables.ts";
import { CAPTURE, clashSql, displacedSql, eventCode, imageSql, NOT_APPLYING, NOW, Op, updateOfUnique } from "./events.ts";

/**
 * The triggers of a table without a primary key. Only its values tell what a row is, so each event has the whole row:
 * an insert the new one, a delete the old one, an update first the old one (`Op.update`) and then the new one
 * (`Op.insert`). The rowid beside it says where to look first; VACUUM may have made it another row's by the time of the drain.
 */
export function keylessTriggers(table: Table): { name: string; sql: string }[] {
  const [place] = table.key;
  const rowid = quote((place as { name: string }).name);
  const event = (op: number, row: string) =>
    `INSERT INTO ${CAPTURE}(event, at, k0) VALUES(${eventCode(table.tid, op)}, ${NOW}, ${row}.${rowid}); ${imageSql(table, row)}`;
  // Only the rows with NULL in their key: an update may make one of them, or give it a key.
  const isOurs = (row: string) => (table.where === null ? "" : ` AND ${keyIsNull(table.nullable, `${row}.`)}`);
  const isNot = (row: string) => ` AND NOT ${keyIsNull(table.nullable, `${row}.`)}`;
  const displaced = (match: string) => displacedSql(table, `${match}${isOurs("t")}`);
  const triggers: { name: string; sql: string }[] = [];
  const add = (kind: string, when: string, condition: string, body: string) => {
    const name = `_scoutsync_${kind}_${table.tid}`;
    triggers.push({ name, sql: `CREATE TRIGGER ${name} ${when} ON ${quote(table.source)} WHEN ${condition} BEGIN ${body} END` });
  };
  add("insert", "AFTER INSERT", `${NOT_APPLYING}${isOurs("NEW")}`, event(Op.insert, "NEW"));
  add("update", "AFTER UPDATE", `${NOT_APPLYING}${isOurs("OLD")}${isOurs("NEW")}`, `${event(Op.update, "OLD")} ${event(Op.insert, "NEW")}`);
  if (table.where !== null) {
    add("came", "AFTER UPDATE", `${NOT_APPLYING}${isNot("OLD")}${isOurs("NEW")}`, event(Op.insert, "NEW"));
    add("went", "AFTER UPDATE", `${NOT_APPLYING}${isOurs("OLD")}${isNot("NEW")}`, event(Op.delete, "OLD"));
  }
  add("delete", "AFTER DELETE", `${NOT_APPLYING}${isOurs("OLD")}`, event(Op.delete, "OLD"));
  // OR REPLACE deletes rows that clash without firing delete triggers: what may go is logged before. A rowid that the
  // application gives clashes, too; where it gives none, NEW has -1 here.
  const clashes = table.uniques.map(clashSql);
  add("displace_insert", "BEFORE INSERT", NOT_APPLYING, [`t.${rowid} = NEW.${rowid}`, ...clashes].map(displaced).join(" "));
  if (clashes.length > 0) {
    const others = (match: string) => displaced(`${match} AND t.${rowid} <> OLD.${rowid}`);
    add("displace_update", updateOfUnique(table.uniques), NOT_APPLYING, clashes.map(others).join(" "));
  }
  add("displace_key", "BEFORE UPDATE", `${NOT_APPLYING} AND OLD.${rowid} <> NEW.${rowid}`, displaced(`t.${rowid} = NEW.${rowid}`));
  return triggers;
}
