import type Database from "better-sqlite3";
import { formatVector } from "@scoutsync/core";
import type { ReplicaDatabase } from "../src/index.ts";
import { BAGS } from "./copied-bags.ts";
import type { Ledger } from "./ledger.ts";

export const TABLES = ["parent", "child", "word", "link", "tag"] as const;
/** A table without a primary key and one that refers to a natural key; histories use them where they say so. */
export const MORE_TABLES = [...TABLES, "note", "remark"] as const;

export interface Node {
  name: string;
  path: string;
  app: Database.Database;
  replica: ReplicaDatabase;
  runs: number;
  skewUs: number;
  /** Integers under which the application has seen rows, by marker. */
  remembered: Map<string, number>;
  /** Names of nodes whose rows from before attaching are known here, this one's among them. */
  met: Set<string>;
}

/** What a verdict looks at of a node. */
interface Looked {
  name: string;
  app: Database.Database;
  replica: ReplicaDatabase;
}

/**
 * What a node shows people, as text that is the same on every node. What a row was meant to be is asked where it was written, and which of
 * many rows that refer to one are named depends on their order in a table.
 */
const auditOf = ({ replica }: Looked): string =>
  JSON.stringify(
    replica
      .reviews({ kind: "", id: "", limit: 100_000 })
      .filter(({ kind }) => kind !== "identity")
      .map(({ id, kind, table, key, column, winner, loser, image, reason }) => {
        const why = reason.replace(/had .* refer to it/, "had rows refer to it");
        return [id, kind, table, key, column, winner?.value, loser?.value, image, why];
      }),
    (_, value: unknown) => (typeof value === "bigint" ? String(value) : value),
  );

/** Each table in an order that does not depend on the node. */
export const dumpOf =
  (tables: readonly string[]) =>
  ({ app }: Looked): string =>
    tables.map((table) => JSON.stringify(app.prepare(`SELECT * FROM ${table} ORDER BY 1, 2`).all())).join("\n");

/** How two nodes that have synced differ, and what is wrong with the second. */
export function differences<N extends Looked>(
  a: N,
  b: N,
  { dump, audit = auditOf }: { dump: (node: N) => string; audit?: (node: N) => string },
): string[] {
  const failures: string[] = [];
  if (formatVector(a.replica.state().vector) !== formatVector(b.replica.state().vector))
    failures.push(`R7 vectors of ${a.name} and ${b.name} differ`);
  const apart = dump(a)
    .split("\n")
    .flatMap((line, i) => {
      const other = dump(b).split("\n")[i];
      return line === other ? [] : [line, String(other)];
    });
  if (apart.length > 0) failures.push(`R2 tables of ${a.name} and ${b.name} differ\n${apart.join("\n")}`);
  if (audit(a) !== audit(b)) failures.push(`R2 audits of ${a.name} and ${b.name} differ\n${audit(a)}\n${audit(b)}`);
  const broken = b.app.pragma("foreign_key_check") as unknown[];
  if (broken.length > 0) failures.push(`foreign keys of ${b.name} are broken: ${JSON.stringify(broken)}`);
  const kept = b.replica.digests({ table: "", buckets: [], deep: false }).entries;
  b.replica.digests({ table: "", buckets: [], deep: true }).entries.forEach((entry, i) => {
    if (Buffer.compare(entry.digest, kept[i]?.digest as Uint8Array) !== 0)
      failures.push(`stored hashes of ${entry.table} on ${b.name} are not those of its rows`);
  });
  return failures;
}

/** What people see of the column `x`: in the tables, and in what is listed for them. */
export function visibleValues({ app, replica }: Looked, tables: readonly string[]): Set<unknown> {
  const visible = new Set<unknown>(tables.flatMap((table) => app.prepare(`SELECT x FROM ${table}`).pluck().all()));
  for (const { loser, image } of replica.reviews({ kind: "", id: "", limit: 100_000 })) {
    if (loser) visible.add(loser.value);
    for (const { name, value } of image ?? []) if (name === "x") visible.add(value);
  }
  return visible;
}

/** What rows in tables, and those that wait for a place, held and lost to somebody who did not mean them, by their history. */
export function settledValues({ app, replica }: Looked, keys: Readonly<Record<string, string>>): Set<unknown> {
  const keyed = Object.entries(keys).flatMap(([table, key]) =>
    app
      .prepare(`SELECT ${key} FROM ${table}`)
      .pluck()
      .all()
      .map((its) => [table, String(its)] as const),
  );
  const parked = replica.reviews({ kind: "parked", id: "", limit: 100_000 }).map(({ table, key }) => [table, key] as const);
  const closed = [...keyed, ...parked].flatMap(([table, key]) =>
    replica.history(table, key).filter(({ operation }) => operation === "closed"),
  );
  return new Set(closed.map(({ value }) => value));
}

/** Every value like v12 that a node holds of rows that are deleted. */
export function deletedValues({ app }: Looked, alsoJoined = false): Set<string> {
  const images = app
    .prepare("SELECT CAST(image || coalesce(extra, '') AS BLOB) FROM _scoutsync_out WHERE state = 1 OR state = ?")
    .pluck()
    .all(alsoJoined ? 3 : 1) as Buffer[];
  return new Set(images.flatMap((image) => [...image.toString("latin1").matchAll(/v\d+/g)].map(([value]) => value)));
}

/** Compares what the replicas hold in the end with each other and with what writers were told. */
export class Verdict {
  readonly failures: string[] = [];
  private readonly ledger: Ledger;

  /** Deleted rows may have been forgotten at one node and not yet at another, and their conflicts with them. */
  private readonly forgetting: boolean;

  /** What was written under a remembered integer may count as not known to have replaced what it did. */
  private readonly keepsIds: boolean;

  /** There are tables of rows without a key that copies had. */
  private readonly copies: boolean;

  /** Two applications may each add the row that a reference was older than. */
  private readonly early: boolean;

  constructor(ledger: Ledger, { forgetting = false, keepsIds = false, copies = false, early = false } = {}) {
    this.ledger = ledger;
    this.early = early;
    this.copies = copies;
    this.forgetting = forgetting;
    this.keepsIds = keepsIds;
  }

  private dump(node: Node): string {
    const inOrder = (table: string, order: string) => JSON.stringify(node.app.prepare(`SELECT * FROM ${table} ORDER BY ${order}`).all());
    const bags = this.copies ? BAGS.map((table) => inOrder(table, "m, x")) : [];
    return [...MORE_TABLES.map((table) => inOrder(table, "1, 2")), ...bags].join("\n");
  }

  private reviews(node: Node): string {
    return JSON.stringify(
      node.replica
        .reviews({ kind: "", id: "", limit: 100_000 })
        // What a row was meant to be is asked where it was written.
        .filter(({ kind }) => kind !== "identity")
        .filter(({ kind, table, key }) => !this.forgetting || kind !== "conflict" || this.neverDeleted(node, table, key))
        .map(({ id, kind, table, key, winner, loser }) => [id, kind, table, key, winner?.value, loser?.value]),
      (_, v) => (typeof v === "bigint" ? String(v) : v),
    );
  }

  private neverDeleted(node: Node, table: string, key: string): boolean {
    const marker = this.markerOf(node, table, key);
    return typeof marker === "string" && !this.ledger.deleted.has(marker);
  }

  private markerOf(node: Node, table: string, key: string): unknown {
    return node.replica.row(table, key)?.find(({ name }) => name === "m")?.value;
  }

  compare(a: Node, b: Node): void {
    this.failures.push(...differences(a, b, { dump: (node) => this.dump(node), audit: (node) => this.reviews(node) }));
  }

  /** A row that everyone who wrote to it knew to be deleted is not back. */
  checkDeleted(node: Node): void {
    for (const marker of this.ledger.deleted) {
      if (this.ledger.mayLive.has(marker) || this.ledger.mayReturn.has(marker)) continue;
      const table = this.ledger.rows.get(marker) as string;
      if (node.app.prepare(`SELECT 1 FROM ${table} WHERE m = ?`).get(marker) !== undefined)
        this.failures.push(`${marker} was deleted and is back`);
    }
  }

  checkRows(node: Node): void {
    const parked = new Set(
      node.replica
        .reviews({ kind: "parked", id: "", limit: 100_000 })
        .map((review) => review.image?.find((column) => column.name === "m")?.value as string),
    );
    const losers = node.replica.reviews({ kind: "conflict", id: "", limit: 100_000 });
    for (const [marker, table] of this.ledger.rows) {
      const row = node.app.prepare(`SELECT * FROM ${table} WHERE m = ?`).get(marker) as Record<string, string> | undefined;
      const copies = node.app.prepare(`SELECT count(*) FROM ${table} WHERE m = ?`).pluck().get(marker) as number;
      // One that was edited while it was deleted and forgotten elsewhere is a new row, and may live on as the old one as well.
      const mayBeTwo = this.ledger.mayLive.has(marker) && this.ledger.deleted.has(marker);
      if (copies > 1 && !mayBeTwo) this.failures.push(`${marker} is there ${copies} times`);
      if (!row) {
        if (!this.ledger.deleted.has(marker) && !parked.has(marker)) this.failures.push(`R1 ${marker} is lost`);
        continue;
      }
      const parent = this.ledger.parents.get(marker);
      const nameOf = (value: unknown) =>
        node.app
          .prepare(table === "remark" ? "SELECT m FROM word WHERE k = ?" : "SELECT m FROM parent WHERE id = ?")
          .pluck()
          .get(value);
      const isListed = () =>
        losers.some(
          ({ table: of, key, column, loser }) =>
            of === table && column === "p" && this.markerOf(node, table, key) === marker && nameOf(loser?.value) === parent,
        );
      if (parent && nameOf(row[table === "remark" ? "k" : "p"]) !== parent && !(this.early && isListed()))
        this.failures.push(`${marker} hangs on another parent`);
      if (this.ledger.deleted.has(marker)) continue;
      const hits = this.ledger.hits.get(marker) ?? 0;
      if ("hits" in row && Number(row["hits"]) !== hits) this.failures.push(`R1 ${marker} counts ${row["hits"]}, the ledger ${hits}`);
      const tags = [...(this.ledger.tags.get(marker) ?? [])].filter((tag) => !this.ledger.removed.has(tag)).sort();
      if ("tags" in row && (JSON.parse(row["tags"] ?? "[]") as string[]).sort().join() !== tags.join())
        this.failures.push(`R1 ${marker} has tags ${row["tags"]}, the ledger ${tags.join()}`);
      for (const column of ["x", "y"]) {
        const held = [
          row[column] as string,
          ...losers
            .filter((review) => review.table === table && review.column === column && review.winner?.value === row[column])
            .map((review) => review.loser?.value as string),
        ];
        const wanted = this.ledger.maximal(`${marker}.${column}`);
        // Two copies may have held the same value, and both lost.
        const told = [...new Set(held)].filter(
          (value) => wanted.includes(value) || !this.ledger.before.has(`${marker}.${column}=${value}`),
        );
        const isMore = this.keepsIds && wanted.every((value) => told.includes(value));
        if (told.sort().join() !== wanted.join() && !isMore)
          this.failures.push(`R1 ${marker}.${column} holds ${held.join()}, the ledger says ${wanted.join()}`);
      }
    }
  }
}
