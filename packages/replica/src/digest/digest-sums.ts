import type { Database } from "better-sqlite3";
import { rowStatement } from "../kept-statements.ts";

/**
 * Buckets per table, by the first byte of the row hash: a row that differs makes the bucket of each of its versions
 * differ. With 1,000,000 rows a differing bucket is a list of about 4,000 row hashes.
 */
export const BUCKETS = 256;

/** Sums written by one statement. */
const CHUNK = 16;

/**
 * Sums of row hashes modulo 2^128 per table and bucket. Addition commutes and is not XOR: a row counted twice shows.
 * Differences are collected in four 32-bit lanes and written by `flush`, in the transaction that changed the rows.
 */
export class DigestSums {
  private readonly db: Database;
  private readonly pending = new Map<number, Float64Array>();
  /** What the file has, by table and bucket. */
  private readonly stored = new Map<number, { rows: number; sum: bigint }>();
  /** The sum over everything, as it is in the file. */
  private total = 0n;
  private rowCount = 0;
  /** Rows per table. */
  private readonly counts = new Map<number, number>();
  /** Rises with every row that comes, goes or changes. */
  version = 0;

  constructor(db: Database) {
    this.db = db;
    this.reload();
  }

  reload(): void {
    this.pending.clear();
    this.total = 0n;
    this.rowCount = 0;
    this.counts.clear();
    this.stored.clear();
    for (const { tid, bucket, rows, sum } of rowStatement(this.db, "SELECT tid, bucket, rows, sum FROM _scoutsync_digest").all() as {
      tid: number;
      bucket: number;
      rows: number;
      sum: Buffer;
    }[]) {
      const number = numberOf(sum);
      this.stored.set(tid * BUCKETS + bucket, { rows, sum: number });
      this.total = BigInt.asUintN(128, this.total + number);
      this.count(tid, rows);
    }
  }

  private count(tid: number, rows: number): void {
    this.rowCount += rows;
    this.counts.set(tid, (this.counts.get(tid) ?? 0) + rows);
  }

  /** True when the table has rows. Call after `flush`. */
  hasRows(tid: number): boolean {
    return (this.counts.get(tid) ?? 0) > 0;
  }

  add(tid: number, hash: Buffer): void {
    this.collect(tid, hash, 1);
  }

  remove(tid: number, hash: Buffer): void {
    this.collect(tid, hash, -1);
  }

  private collect(tid: number, hash: Buffer, sign: 1 | -1): void {
    this.version++;
    const at = tid * BUCKETS + (hash[0] as number);
    let lanes = this.pending.get(at);
    if (!lanes) {
      // Lanes stay exact: 2^21 additions of 32 bits fit a double's 53.
      lanes = new Float64Array(5);
      this.pending.set(at, lanes);
    }
    for (let lane = 0; lane < 4; lane++) {
      const byte = lane * 4;
      const low = ((hash[byte + 1] as number) << 16) | ((hash[byte + 2] as number) << 8) | (hash[byte + 3] as number);
      lanes[lane] = (lanes[lane] as number) + sign * ((hash[byte] as number) * 0x100_0000 + low);
    }
    lanes[4] = (lanes[4] as number) + sign;
  }

  flush(): void {
    if (this.pending.size === 0) return;
    const changed: (number | Buffer)[] = [];
    for (const [at, lanes] of this.pending) {
      const tid = Math.floor(at / BUCKETS);
      const bucket = at % BUCKETS;
      let difference = 0n;
      for (let lane = 0; lane < 4; lane++) difference = (difference << 32n) + BigInt(lanes[lane] as number);
      const before = this.stored.get(at);
      const sum = BigInt.asUintN(128, (before?.sum ?? 0n) + difference);
      const rows = (before?.rows ?? 0) + (lanes[4] as number);
      this.stored.set(at, { rows, sum });
      changed.push(tid, bucket, rows, bytesOf(sum));
      this.total = BigInt.asUintN(128, this.total + difference);
      this.count(tid, lanes[4] as number);
    }
    for (let at = 0; at < changed.length;) {
      const count = changed.length - at >= 4 * CHUNK ? CHUNK : 1;
      this.write(count).run(changed.slice(at, at + 4 * count));
      at += 4 * count;
    }
    this.pending.clear();
  }

  private write(count: number) {
    const values = Array(count).fill("(?, ?, ?, ?)").join(", ");
    return rowStatement(
      this.db,
      `INSERT INTO _scoutsync_digest(tid, bucket, rows, sum) VALUES ${values} ON CONFLICT(tid, bucket) DO UPDATE SET rows = excluded.rows, sum = excluded.sum`,
    );
  }

  /** 16 bytes. Call after `flush`. */
  get digest(): Buffer {
    return bytesOf(this.total);
  }

  get rows(): number {
    return this.rowCount;
  }
}

/** A 16-byte sum as a number. */
export function numberOf(sum: Buffer): bigint {
  return (sum.readBigUInt64BE(0) << 64n) | sum.readBigUInt64BE(8);
}

/** A number below 2^128 as 16 bytes. */
export function bytesOf(sum: bigint): Buffer {
  const bytes = Buffer.alloc(16);
  bytes.writeBigUInt64BE(sum >> 64n, 0);
  bytes.writeBigUInt64BE(sum & 0xffff_ffff_ffff_ffffn, 8);
  return bytes;
}
