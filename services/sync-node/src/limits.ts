import type { Limits } from "@scoutsync/protocol";
import { Rate, RowPace } from "@scoutsync/session";

/** How much may pass a node, both directions and all peers together; 0 = no limit. */
export interface Pace {
  changesPerSecond: number;
  /** Bytes of packed changes, and of files. */
  rowBytesPerSecond: number;
  fileBytesPerSecond: number;
}

/** What a node lets pass: its own limits and those of the fleet, whichever is less. Changes take effect at once. */
export class PassingLimits {
  readonly rows = new RowPace();
  readonly files = new Rate();
  readonly #own: Pace;

  constructor(own: Pace) {
    this.#own = own;
    this.#apply({ changesPerSecond: 0, rowBytesPerSecond: 0, fileBytesPerSecond: 0 });
  }

  /** The coordinator said what holds in the fleet. It stays when the coordinator is away; one of the version before says nothing. */
  told(limits: Limits | undefined): void {
    if (limits === undefined) return;
    const { changesPerSecond, rowBytesPerSecond, fileBytesPerSecond } = limits;
    this.#apply({
      changesPerSecond: Number(changesPerSecond),
      rowBytesPerSecond: Number(rowBytesPerSecond),
      fileBytesPerSecond: Number(fileBytesPerSecond),
    });
  }

  #apply(fleet: Pace): void {
    this.rows.changes.limit(lesser(this.#own.changesPerSecond, fleet.changesPerSecond));
    this.rows.bytes.limit(lesser(this.#own.rowBytesPerSecond, fleet.rowBytesPerSecond));
    this.files.limit(lesser(this.#own.fileBytesPerSecond, fleet.fileBytesPerSecond));
  }
}

function lesser(one: number, other: number): number {
  return one === 0 || other === 0 ? one + other : Math.min(one, other);
}
