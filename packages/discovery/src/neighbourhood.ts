import type { EventEmitter } from "node:events";
import { isIP } from "node:net";
import Bonjour from "bonjour-service";
import { formatAddress, type Logger } from "@scoutsync/runtime";

const SERVICE_TYPE = "scoutsync";
/** Who is there is asked for again after this long: an answer may have been lost, or somebody has moved. */
const ASK_EVERY_MS = 15_000;
/** Others on the network may say what they like; this many are remembered. */
const MOST_FOUND = 1_000;
const TEXT = /^[A-Za-z0-9_.-]{1,64}$/;

/** What a service says of itself to everybody on its network. Nothing of it is proven. */
export interface Presence {
  role: "node" | "coordinator";
  id: string;
  name: string;
  /** Of its gRPC server. */
  port: number;
  /** The fleet whose certificate it says to have; empty for none. */
  fleet: string;
}

export interface Neighbour extends Presence {
  /** `host:port`, the host as its packets came. */
  address: string;
  /** When it said so last. */
  seenAt: Date;
}

export interface NeighbourhoodOptions {
  presence: Presence;
  /** The address of the network interface to use; null = all. */
  interface: string | null;
  logger: Logger;
  /** Hears of every neighbour when it is new or has another address; not of oneself. */
  onFound: (neighbour: Neighbour) => void;
}

/**
 * Says to the local network by multicast DNS that this service is there, and hears of others, until `stop`. Never
 * throws: a network without multicast is a quiet one.
 */
export class Neighbourhood {
  readonly #options: NeighbourhoodOptions;
  readonly #bonjour: Bonjour;
  readonly #found = new Map<string, Neighbour>();
  readonly #asking: NodeJS.Timeout;
  #said = "";

  constructor(options: NeighbourhoodOptions) {
    this.#options = options;
    const { presence } = options;
    // Bound to one address a socket gets no multicast.
    const network = options.interface === null ? {} : { interface: options.interface, bind: "0.0.0.0" };
    this.#bonjour = new Bonjour(network as object, (error: unknown) => this.#trouble(error));
    const socket = socketOf(this.#bonjour);
    for (const event of ["error", "warning"]) socket.on(event, (error: unknown) => this.#trouble(error));
    // The library tells of what is new and of what changes, not that somebody is still there.
    socket.on("response", ({ answers }: Response) => {
      for (const { type, data } of answers ?? []) if (type === "PTR" && typeof data === "string") this.#stillThere(data);
    });
    const { role, id, name, port, fleet } = presence;
    this.#bonjour.publish({
      name: `${role}-${id}`,
      type: SERVICE_TYPE,
      port,
      txt: { role, id, name, fleet },
      // The name has an identity in it, so nobody else has it; and a probe that finds somebody writes to stdout.
      probe: false,
      disableIPv6: true,
    });
    const browser = this.#bonjour.find({ type: SERVICE_TYPE });
    for (const event of ["up", "txt-update", "srv-update"] as const) browser.on(event, (service: Heard) => this.#heard(service));
    browser.on("down", ({ name: gone }) => this.#found.delete(gone));
    this.#asking = setInterval(() => {
      browser.expire();
      browser.update();
    }, ASK_EVERY_MS);
  }

  /** Who is there now, as far as is known. */
  get found(): readonly Neighbour[] {
    return [...this.#found.values()];
  }

  /** Says goodbye and goes. */
  stop(): Promise<void> {
    clearInterval(this.#asking);
    return new Promise((resolve) => {
      this.#bonjour.unpublishAll(() => this.#bonjour.destroy(() => resolve()));
    });
  }

  #heard(service: Heard): void {
    const txt = (service.txt ?? {}) as Readonly<Record<string, unknown>>;
    const field = (name: string) => (typeof txt[name] === "string" && TEXT.test(txt[name]) ? txt[name] : "");
    const [role, id, name, fleet] = [field("role"), field("id"), field("name"), field("fleet")];
    const host = service.referer?.address ?? "";
    if ((role !== "node" && role !== "coordinator") || id === "" || isIP(host) === 0 || service.port === 0) return;
    const { presence, onFound } = this.#options;
    if (id === presence.id && role === presence.role) return;
    const address = formatAddress({ host, port: service.port });
    if (this.#found.get(service.name)?.address === address || this.#found.size >= MOST_FOUND) return;
    const neighbour: Neighbour = { role, id, name, fleet, port: service.port, address, seenAt: new Date() };
    this.#found.set(service.name, neighbour);
    onFound(neighbour);
  }

  #stillThere(fullName: string): void {
    const known = this.#found.get(fullName.slice(0, fullName.indexOf(`._${SERVICE_TYPE}.`)));
    if (known !== undefined) known.seenAt = new Date();
  }

  /** Said once: what a network does not do it does not do every five seconds either. */
  #trouble(error: unknown): void {
    const text = String(error);
    if (this.#said === text) return;
    this.#said = text;
    this.#options.logger.warn({ error: text }, "this network does not carry multicast DNS as it should: neighbours may not be found");
  }
}

/** What is used of what the library hears. */
interface Heard {
  name: string;
  port: number;
  txt?: unknown;
  referer?: { address: string };
}

/** A packet of answers, as far as it is looked at. */
interface Response {
  answers?: readonly { type?: unknown; data?: unknown }[];
}

/** The library shows nobody its socket, and an error of it would end the process. */
function socketOf(bonjour: Bonjour): EventEmitter {
  return (bonjour as unknown as { server: { mdns: EventEmitter } }).server.mdns;
}
