import { unary } from "@scoutsync/protocol";
import { pause } from "@scoutsync/runtime";
import type { CoordinatorConnection } from "../connect.ts";
import type { Output } from "./output.ts";

const LOOK_MS = 1_000;
const LOOK_DEADLINE_MS = 5_000;

/** Waits for what was asked of the coordinator; on a terminal, with a bar of what the fleet's sessions do meanwhile. */
export async function showingSessions<T>(client: CoordinatorConnection, out: Output, work: Promise<T>): Promise<T> {
  if (!out.showsProgress) return work;
  const done = new AbortController();
  const watching = watch(client, out, done.signal);
  try {
    return await work;
  } finally {
    done.abort();
    await watching;
  }
}

async function watch(client: CoordinatorConnection, out: Output, signal: AbortSignal): Promise<void> {
  for (await pause(LOOK_MS, signal); !signal.aborted; await pause(LOOK_MS, signal)) {
    // Whether it goes well is for the call that is waited for to say.
    const status = await unary(client, "getStatus", {}, { deadlineMs: LOOK_DEADLINE_MS, signal }).catch(() => null);
    const running = (status?.nodes ?? []).filter(({ state, session }) => state === "syncing" && session?.progress !== undefined);
    const [first, ...others] = running;
    const progress = first?.session?.progress;
    if (signal.aborted || first === undefined || progress === undefined) continue;
    const more = others.length === 0 ? "" : ` (and ${others.length} more)`;
    out.progress(`${first.name}${more}: ${progress.phase} ${progress.database}`, Number(progress.done), Number(progress.total));
  }
}
