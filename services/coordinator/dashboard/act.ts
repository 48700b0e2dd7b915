import { Problem } from "./api.ts";
import { redraw } from "./redraw.ts";

/** A short notice about something that was done. */
export interface Notice {
  id: number;
  tone: "ok" | "bad";
  text: string;
  hint: string;
}

const NOTICE_MS = 7_000;
let nextId = 1;
const running = new Set<string>();

export const notices: { shown: Notice[] } = { shown: [] };

/** Whether the action with this name runs; its button then says so. */
export function isRunning(name: string): boolean {
  return running.has(name);
}

export function notify(tone: Notice["tone"], text: string, hint = ""): void {
  const notice = { id: nextId++, tone, text, hint };
  notices.shown = [...notices.shown.slice(-3), notice];
  // What went wrong stays until it was read.
  if (tone === "ok") setTimeout(() => dismiss(notice.id), NOTICE_MS);
  redraw();
}

export function dismiss(id: number): void {
  notices.shown = notices.shown.filter((notice) => notice.id !== id);
  redraw();
}

/** Runs an action once at a time by its name, and says how it went. Resolves to whether it went well. */
export async function act<T>(
  name: string,
  work: () => Promise<T>,
  done: (result: T) => string | Pick<Notice, "tone" | "text" | "hint">,
): Promise<boolean> {
  if (running.has(name)) return false;
  running.add(name);
  redraw();
  try {
    const said = done(await work());
    if (typeof said === "string") {
      if (said !== "") notify("ok", said);
      return true;
    }
    notify(said.tone, said.text, said.hint);
    return said.tone === "ok";
  } catch (error) {
    const problem = error instanceof Problem ? error : new Problem(String(error), "", 0);
    notify("bad", problem.message, problem.action);
    return false;
  } finally {
    running.delete(name);
    redraw();
  }
}
