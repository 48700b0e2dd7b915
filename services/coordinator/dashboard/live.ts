import { api } from "./api.ts";
import type { Fleet, FleetChanges, FleetEvent, Node, RunningSession } from "./model.ts";
import { redraw } from "./redraw.ts";

/** The first pause before a lost line is tried again, and the longest, milliseconds. */
const RETRY_FIRST_MS = 1_000;
const RETRY_LONGEST_MS = 15_000;
/** A quiet fleet sends nothing that a page can hear, and neither does a line that broke without a word: then a question tells. */
const SILENCE_MS = 30_000;
/** A coordinator that takes longer to answer counts as lost, milliseconds. */
const ANSWER_MS = 10_000;
const KEPT_EVENTS = 200;
/** Pages that show more than the fleet ask again at most this often while it moves. */
const PAGE_REFRESH_MS = 1_500;

/** The fleet as the coordinator said last, and how good the line to it is. */
export const live: { fleet: Fleet | null; line: "joining" | "live" | "lost"; events: FleetEvent[] } = {
  fleet: null,
  line: "joining",
  events: [],
};

/** How far this device's clock is behind the coordinator's, milliseconds: ages are those of the coordinator. */
let skewMs = 0;
const listeners = new Set<() => void>();
let refreshDue: ReturnType<typeof setTimeout> | null = null;

/** The time now, by the coordinator's clock; Unix milliseconds. */
export function nowMs(): number {
  return Date.now() + skewMs;
}

/** Calls back soon after the fleet moved, not more often than a page can use. Returns what ends it. */
export function onMoved(listener: () => void): () => void {
  listeners.add(listener);
  return () => void listeners.delete(listener);
}

/** Opens the line to the coordinator and keeps it open. */
export function watchFleet(): void {
  let attempts = 0;
  let source: EventSource | null = null;
  let silence: ReturnType<typeof setTimeout> | undefined;
  let retry: ReturnType<typeof setTimeout> | undefined;

  const lost = () => {
    clearTimeout(silence);
    clearTimeout(retry);
    source?.close();
    live.line = "lost";
    retry = setTimeout(open, Math.min(RETRY_FIRST_MS * 2 ** attempts++, RETRY_LONGEST_MS));
    redraw();
    // The line cannot say why it was refused: an answer to a plain question can.
    void api<Fleet>("GET", "api/fleet").then(takeFleet, () => {});
  };
  const askOnce = async () => {
    try {
      takeFleet(await api<Fleet>("GET", "api/fleet", undefined, AbortSignal.timeout(ANSWER_MS)));
      heard();
    } catch {
      // Whatever the reason: the line is opened anew, and says so.
      lost();
    }
    redraw();
  };
  const heard = () => {
    clearTimeout(silence);
    silence = setTimeout(() => void askOnce(), SILENCE_MS);
    attempts = 0;
    if (live.line === "live") return;
    live.line = "live";
    redraw();
  };
  const open = () => {
    source = new EventSource("api/events");
    source.addEventListener("error", lost);
    const on = <T>(kind: string, take: (message: T) => void) =>
      source?.addEventListener(kind, (event: MessageEvent<string>) => {
        heard();
        take(JSON.parse(event.data) as T);
        redraw();
      });
    on<Fleet>("snapshot", takeFleet);
    on<FleetChanges>("changes", takeChanges);
    on<FleetEvent>("event", (event) => {
      live.events = [event, ...live.events].slice(0, KEPT_EVENTS);
      moved();
    });
    on<{ server_id: number; session: RunningSession | null }>("progress", ({ server_id, session }) => {
      const node = live.fleet?.nodes.find((one) => one.id === server_id);
      if (node !== undefined) node.session = session;
    });
  };
  // A phone that slept has a line that looks open and is not.
  document.addEventListener("visibilitychange", () => {
    if (document.visibilityState !== "visible" || live.line === "live") return;
    attempts = 0;
    lost();
  });
  open();
}

function takeFleet(fleet: Fleet): void {
  live.fleet = fleet;
  skewMs = Date.parse(fleet.timestamp) - Date.now();
  moved();
}

function takeChanges({ certificate, nodes, removed, ...rest }: FleetChanges): void {
  const fleet = live.fleet;
  if (fleet === null) return;
  const known = new Map(fleet.nodes.map((node) => [node.id, node]));
  // One that was not known comes with all its fields.
  for (const node of nodes) known.set(node.id, { ...known.get(node.id), ...node } as Node);
  for (const id of removed) known.delete(id);
  const byId = [...known.values()].toSorted((a, b) => a.id - b.id);
  takeFleet({ ...fleet, ...rest, certificate: { ...fleet.certificate, ...certificate }, nodes: byId });
}

function moved(): void {
  refreshDue ??= setTimeout(() => {
    refreshDue = null;
    if (document.visibilityState === "visible") for (const listener of listeners) listener();
  }, PAGE_REFRESH_MS);
}
