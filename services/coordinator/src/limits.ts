import type { Limits } from "@scoutsync/protocol";
import { isWithin } from "./jobs/offpeak.ts";
import type { Settings } from "./registry/settings.ts";

const KIB = 1024;

/** What may pass each node now; nodes hear of it when they register and with every heartbeat. */
export function limitsNow(settings: Settings, now = new Date()): Limits {
  if (!isWithin(settings.get("limit_window"), now)) return { changesPerSecond: 0n, rowBytesPerSecond: 0n, fileBytesPerSecond: 0n };
  return {
    changesPerSecond: BigInt(settings.get("limit_rows_per_second")),
    rowBytesPerSecond: BigInt(settings.get("limit_rows_kib_per_second") * KIB),
    fileBytesPerSecond: BigInt(settings.get("limit_files_kib_per_second") * KIB),
  };
}
