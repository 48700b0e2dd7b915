import { SyncError } from "@scoutsync/core";
import type { Knowledge } from "../identity/knowledge.ts";

/** A batch holds changes of this run that it never made. Nothing of it was applied. */
export class NeverMade extends SyncError {
  constructor() {
    super({
      code: "BATCH_CORRUPT",
      message: "a batch claims changes of this node that it never made",
      action: "Nothing of it was applied. Check which node sent it: it does not run this program, or its memory is damaged.",
    });
  }
}

/** Nobody knows more of this run's changes than this run. */
export function refuseForged(knowledge: Knowledge, origin: number, sequence: number): void {
  if (knowledge.isSelf(origin) && !knowledge.covers(origin, sequence)) throw new NeverMade();
}
