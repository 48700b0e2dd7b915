import type { Database } from "better-sqlite3";
import {
  formatVector,
  isNewWord,
  LONGEST_NODE_NAME,
  type MemberWord,
  type NodeName,
  parseVector,
  type VersionVector,
} from "@scoutsync/core";
import { rowStatement } from "../kept-statements.ts";

const MOST_MEMBERS = 10_000;

interface StoredMember {
  node_id: string;
  name: string;
  vector: string;
  at: number;
  retired: number;
}

/**
 * The nodes that take part, as far as word of them has come here, directly or through others: what each was last known
 * to have. Nothing is forgotten that one of them may lack, but for those that were retired. Of two words about a node
 * the later one counts; where clocks make that the wrong one, more is kept, or the node has to join again: nothing is lost.
 */
export class Members {
  private readonly db: Database;
  private readonly self: NodeName;

  constructor(db: Database, self: NodeName) {
    this.db = db;
    this.self = self;
  }

  /** Every node but this one. */
  get others(): MemberWord[] {
    const rows = rowStatement(this.db, "SELECT node_id, name, vector, at, retired FROM _scoutsync_member ORDER BY node_id").all();
    return (rows as StoredMember[]).map(fromStored);
  }

  /** Those that nothing may be forgotten without. */
  get counting(): MemberWord[] {
    return this.others.filter(({ retired }) => !retired);
  }

  /** What is passed on: every node, and this one as it stands at `nowUs` with `vector`. */
  words(vector: VersionVector, nowUs: number): MemberWord[] {
    return [...this.others, { node: this.self, vector, atUs: nowUs, retired: false }];
  }

  isRetired({ id }: NodeName): boolean {
    return this.one(id)?.retired === true;
  }

  /** The node itself has just said what it has. `isBack`: nothing that was forgotten without it is missing there. */
  heard(node: NodeName, vector: VersionVector, nowUs: number, isBack: boolean): void {
    if (node.id === this.self.id) return;
    const known = this.one(node.id);
    const retired = known?.retired === true && !isBack;
    this.put({ node, vector, atUs: Math.max(nowUs, (known?.atUs ?? 0) + 1), retired });
  }

  /** Whether words that others pass on say anything new. */
  areNews(words: readonly MemberWord[]): boolean {
    return words.some((word) => this.isNew(word));
  }

  /** What a peer invents only makes this replica keep more; so many nodes are no fleet, and are not stored. */
  learn(words: readonly MemberWord[]): void {
    let known = this.db.prepare("SELECT count(*) FROM _scoutsync_member").pluck().get() as number;
    for (const word of words) {
      if (!this.isNew(word)) continue;
      if (!this.one(word.node.id) && ++known > MOST_MEMBERS) continue;
      this.put({ ...word, node: { id: word.node.id, name: word.node.name.slice(0, LONGEST_NODE_NAME) } });
    }
  }

  /**
   * Keeps nothing for a node any more. `which` is its id or its name. Returns which node it was, null where none is known
   * by it. One that returns joins again.
   */
  retire(which: string, nowUs: number): NodeName | null {
    const found = this.others.filter(({ node }) => node.id === which || node.name === which);
    const exact = found.find(({ node }) => node.id === which) ?? (found.length === 1 ? found[0] : undefined);
    if (!exact) return null;
    this.put({ ...exact, retired: true, atUs: Math.max(nowUs, exact.atUs + 1) });
    return exact.node;
  }

  private isNew(word: MemberWord): boolean {
    return isNewWord(word, this.self, (id) => this.one(id));
  }

  private one(id: string): MemberWord | null {
    const row = rowStatement(this.db, "SELECT node_id, name, vector, at, retired FROM _scoutsync_member WHERE node_id = ?").get(id);
    return row ? fromStored(row as StoredMember) : null;
  }

  private put({ node, vector, atUs, retired }: MemberWord): void {
    this.db
      .prepare(
        "INSERT INTO _scoutsync_member(node_id, name, vector, at, retired) VALUES(?, ?, ?, ?, ?) ON CONFLICT(node_id) DO UPDATE SET " +
          "name = excluded.name, vector = excluded.vector, at = excluded.at, retired = excluded.retired",
      )
      .run(node.id, node.name, formatVector(vector), atUs, retired ? 1 : 0);
    // An application that waits until every node has its write would wait for this one for ever.
    if (retired) this.db.prepare("DELETE FROM _scoutsync_peer WHERE node_id = ?").run(node.id);
  }
}

function fromStored({ node_id: id, name, vector, at, retired }: StoredMember): MemberWord {
  return { node: { id, name }, vector: parseVector(vector), atUs: at, retired: retired === 1 };
}
