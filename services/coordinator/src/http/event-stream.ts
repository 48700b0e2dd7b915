import type { FastifyInstance, FastifyReply } from "fastify";
import type { Core } from "../core.ts";
import type { FleetEvent } from "../events.ts";
import type { RunningSession } from "../jobs/running-sessions.ts";
import { fleetNow } from "../operations/fleet.ts";
import { jobCounts } from "../operations/jobs.ts";
import { ToldFleet } from "./fleet-changes.ts";
import { LOOK } from "./gate.ts";
import { sessionView } from "../operations/node-view.ts";

/** What changed is sent at most this often, and in a large fleet less often. */
const CHANGES_INTERVAL_MS = 1_000;
const INTERVAL_PER_NODE_MS = 3;
/** Proxies drop a connection that says nothing for a minute. */
const COMMENT_INTERVAL_MS = 15_000;
/** Whether a reader's key or login is one yet. */
const LOOK_AGAIN_MS = 2_000;
/** A reader that is this far behind misses what happens rather than filling memory; it is told how things are when it has read on. */
const MOST_UNREAD_BYTES = 1024 * 1024;
/** So much of what happens is told each second; in a large fleet the rest is seen in what changed. */
const TOLD_PER_SECOND = 50;

/**
 * `GET /api/events`: server-sent events. First `snapshot`, the fleet as it is; then `changes` with what of it is no longer
 * so, `event` for what happens and `progress` of running sessions. Everybody who watches gets the same, made once.
 */
export class EventStream {
  readonly #core: Core;
  /** Who watches, and whether one has missed something and needs the whole fleet again. */
  readonly #readers = new Map<FastifyReply, { missed: boolean }>();
  #told = new ToldFleet();
  #nextId = 1;
  #fleetTimer: NodeJS.Timeout | null = null;
  #second = 0;
  #toldInSecond = 0;
  #stopped = false;

  constructor(core: Core) {
    this.#core = core;
    core.events.on("event", this.#onEvent);
    core.events.on("changed", this.#onChanged);
    core.events.on("counted", this.#onChanged);
    core.events.on("progress", this.#onProgress);
  }

  register(server: FastifyInstance): void {
    server.get("/api/events", { config: { need: LOOK } }, (request, reply) => {
      reply.hijack();
      reply.raw.writeHead(200, {
        "content-type": "text/event-stream; charset=utf-8",
        "cache-control": "no-store",
        // A proxy that collects would deliver minutes late.
        "x-accel-buffering": "no",
      });
      const comments = setInterval(() => reply.raw.write(": still here\n\n"), COMMENT_INTERVAL_MS);
      const looking = setInterval(() => {
        if (request.mayStill?.() === false) reply.raw.end();
      }, LOOK_AGAIN_MS);
      reply.raw.once("close", () => {
        clearInterval(comments);
        clearInterval(looking);
        this.#readers.delete(reply);
      });
      void this.#welcome(reply);
    });
  }

  stop(): void {
    this.#stopped = true;
    this.#core.events.off("event", this.#onEvent);
    this.#core.events.off("changed", this.#onChanged);
    this.#core.events.off("counted", this.#onChanged);
    this.#core.events.off("progress", this.#onProgress);
    if (this.#fleetTimer !== null) clearTimeout(this.#fleetTimer);
    for (const reply of this.#readers.keys()) reply.raw.end();
    this.#readers.clear();
  }

  async #welcome(reply: FastifyReply): Promise<void> {
    try {
      const jobs = await jobCounts(this.#core);
      if (reply.raw.destroyed || this.#stopped) return;
      // From here on at one go: what changes after the snapshot must reach this reader, too.
      const fleet = ToldFleet.shortened(fleetNow(this.#core, jobs));
      if (this.#readers.size === 0) {
        this.#told = new ToldFleet();
        this.#told.changes(fleet);
      }
      reply.raw.write(this.#message("snapshot", fleet));
      this.#readers.set(reply, { missed: false });
    } catch (error) {
      // The reader comes again by itself.
      this.#core.logger.warn({ error: String(error) }, "the fleet could not be shown to one who watches");
      reply.raw.destroy();
    }
  }

  readonly #onEvent = ({ time, kind, serverId, serverName, message }: FleetEvent): void => {
    if (this.#mayTell()) this.#send("event", { time, kind, server_id: serverId, server_name: serverName, message });
    // What is told has changed something, if only the state of a node.
    this.#onChanged();
  };

  readonly #onProgress = (session: RunningSession): void => {
    if (this.#readers.size === 0) return;
    for (const id of this.#mayTell() ? [session.serverId, session.sourceId] : []) {
      const view = sessionView(this.#core, session, id);
      this.#told.heardOf(id, view);
      this.#send("progress", { server_id: id, session: view });
    }
    // The first word of a session makes its node one that syncs.
    this.#onChanged();
  };

  readonly #onChanged = (): void => {
    if (this.#stopped || this.#readers.size === 0 || this.#fleetTimer !== null) return;
    const size = this.#core.registry.servers.list().length;
    this.#fleetTimer = setTimeout(
      () => {
        this.#fleetTimer = null;
        void this.#sendChanges();
      },
      Math.max(CHANGES_INTERVAL_MS, size * INTERVAL_PER_NODE_MS),
    );
  };

  async #sendChanges(): Promise<void> {
    if (this.#stopped || this.#readers.size === 0) return;
    try {
      const jobs = await jobCounts(this.#core);
      if (this.#stopped || this.#readers.size === 0) return;
      const fleet = ToldFleet.shortened(fleetNow(this.#core, jobs));
      const changes = this.#told.changes(fleet);
      const behind = [...this.#readers].filter(([reply, reader]) => reader.missed && !isFarBehind(reply));
      if (changes !== null) this.#send("changes", changes);
      const text = behind.length === 0 ? "" : this.#message("snapshot", fleet);
      for (const [reply, reader] of behind) {
        reader.missed = false;
        reply.raw.write(text);
      }
      // One that still reads is looked at again, also when nothing changes any more.
      if ([...this.#readers.values()].some(({ missed }) => missed)) this.#onChanged();
    } catch (error) {
      if (!this.#stopped) this.#core.logger.warn({ error: String(error) }, "the fleet could not be shown to those who watch");
    }
  }

  /** False when enough was told within this second. */
  #mayTell(): boolean {
    const second = Math.floor(performance.now() / 1_000);
    if (second !== this.#second) this.#toldInSecond = 0;
    this.#second = second;
    return ++this.#toldInSecond <= TOLD_PER_SECOND;
  }

  #send(event: string, body: unknown): void {
    if (this.#stopped || this.#readers.size === 0) return;
    const text = this.#message(event, body);
    for (const [reply, reader] of this.#readers) {
      if (reader.missed) continue;
      if (!isFarBehind(reply)) reply.raw.write(text);
      else {
        reader.missed = true;
        this.#onChanged();
      }
    }
  }

  #message(event: string, body: unknown): string {
    return `id: ${this.#nextId++}\nevent: ${event}\ndata: ${JSON.stringify(body)}\n\n`;
  }
}

function isFarBehind(reply: FastifyReply): boolean {
  return reply.raw.writableLength > MOST_UNREAD_BYTES;
}
