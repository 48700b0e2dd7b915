import type { FastifyInstance, FastifyReply } from "fastify";
import type { Core } from "../core.ts";
import type { FleetEvent } from "../events.ts";
import type { RunningSession } from "../jobs/running-sessions.ts";
import { fleetView } from "../operations/fleet.ts";
import { LOOK } from "./gate.ts";
import { sessionView } from "../operations/node-view.ts";

/** A moving fleet is sent at most this often. */
const FLEET_INTERVAL_MS = 1_000;
/** Proxies drop a connection that says nothing for a minute. */
const COMMENT_INTERVAL_MS = 15_000;
/** A reader that is this far behind misses events rather than filling memory; the next fleet tells it how things are. */
const MOST_UNREAD_BYTES = 4 * 1024 * 1024;

/**
 * `GET /api/events`: server-sent events. First `snapshot`, the fleet as it is; then `fleet` whenever it changed, `event`
 * for what happens and `progress` of running sessions. Everybody who watches gets the same fleet, made once.
 */
export class EventStream {
  readonly #core: Core;
  readonly #readers = new Set<FastifyReply>();
  #nextId = 1;
  #fleetTimer: NodeJS.Timeout | null = null;
  #stopped = false;

  constructor(core: Core) {
    this.#core = core;
    core.events.on("event", this.#onEvent);
    core.events.on("changed", this.#onChanged);
    core.events.on("counted", this.#onChanged);
    core.events.on("progress", this.#onProgress);
  }

  register(server: FastifyInstance): void {
    server.get("/api/events", { config: { need: LOOK } }, (_request, reply) => {
      reply.hijack();
      reply.raw.writeHead(200, {
        "content-type": "text/event-stream; charset=utf-8",
        "cache-control": "no-store",
        // A proxy that collects would deliver minutes late.
        "x-accel-buffering": "no",
      });
      const comments = setInterval(() => reply.raw.write(": still here\n\n"), COMMENT_INTERVAL_MS);
      reply.raw.once("close", () => {
        clearInterval(comments);
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
    for (const reply of this.#readers) reply.raw.end();
    this.#readers.clear();
  }

  async #welcome(reply: FastifyReply): Promise<void> {
    try {
      const text = this.#message("snapshot", await fleetView(this.#core));
      if (reply.raw.destroyed || this.#stopped) return;
      reply.raw.write(text);
      this.#readers.add(reply);
    } catch (error) {
      // The reader comes again by itself.
      this.#core.logger.warn({ error: String(error) }, "the fleet could not be shown to one who watches");
      reply.raw.destroy();
    }
  }

  readonly #onEvent = ({ time, kind, serverId, serverName, message }: FleetEvent): void => {
    this.#send("event", { time, kind, server_id: serverId, server_name: serverName, message });
    // What is told has changed something, if only the state of a node.
    this.#onChanged();
  };

  readonly #onProgress = (session: RunningSession): void => {
    if (this.#readers.size === 0) return;
    for (const id of [session.serverId, session.sourceId]) {
      this.#send("progress", { server_id: id, session: sessionView(this.#core, session, id) });
    }
    // The first word of a session makes its node one that syncs.
    this.#onChanged();
  };

  readonly #onChanged = (): void => {
    if (this.#stopped || this.#readers.size === 0) return;
    this.#fleetTimer ??= setTimeout(() => {
      this.#fleetTimer = null;
      void this.#sendFleet();
    }, FLEET_INTERVAL_MS);
  };

  async #sendFleet(): Promise<void> {
    if (this.#stopped || this.#readers.size === 0) return;
    try {
      this.#send("fleet", await fleetView(this.#core));
    } catch (error) {
      if (!this.#stopped) this.#core.logger.warn({ error: String(error) }, "the fleet could not be shown to those who watch");
    }
  }

  #send(event: string, body: unknown): void {
    if (this.#stopped || this.#readers.size === 0) return;
    const text = this.#message(event, body);
    for (const reply of this.#readers) {
      if (reply.raw.writableLength < MOST_UNREAD_BYTES) reply.raw.write(text);
    }
  }

  #message(event: string, body: unknown): string {
    return `id: ${this.#nextId++}\nevent: ${event}\ndata: ${JSON.stringify(body)}\n\n`;
  }
}
