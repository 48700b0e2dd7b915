import { copyFileSync, mkdirSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { findRedis, SAMPLES, startService, type Redis, type ServiceProcess } from "scoutsync";
import { childEnvironment } from "./environment.ts";
import { scoutsync, type CommandResult } from "./command.ts";
import { ownPort } from "./port.ts";
import { temporaryFolder } from "./temp.ts";
import { boundOf } from "./wait.ts";

export interface NodePlan {
  name: string;
  /** Name in the fleet and path of each database. */
  databases: Readonly<Record<string, string>>;
  peers?: readonly string[];
  coordinator?: string;
  baseline?: "shared" | "distinct" | null;
  /** More flags, as they are. */
  flags?: readonly string[];
  listen?: string;
  /** Added to its environment. */
  env?: Readonly<Record<string, string>>;
}

/** One real sync-node process that can be killed and started again under its address. */
export interface FleetNode {
  readonly name: string;
  readonly address: string;
  readonly databases: Readonly<Record<string, string>>;
  readonly process: ServiceProcess;
  /** Starts it again after `kill` or `stop`; `peers` replaces those it had. */
  restart(change?: { peers?: readonly string[] }): Promise<void>;
  kill(): Promise<void>;
  stop(): Promise<void>;
}

export interface FleetCoordinator {
  readonly address: string;
  readonly http: string;
  readonly directory: string;
  readonly process: ServiceProcess;
  restart(): Promise<void>;
  kill(): Promise<void>;
}

/** Real processes on loopback in a temporary folder; `stop` ends and removes all of it. */
export class Fleet {
  readonly directory: string;
  readonly #remove: () => void;
  readonly #running = new Set<ServiceProcess>();
  #redis: Redis | null = null;

  constructor(purpose: string) {
    const folder = temporaryFolder(purpose);
    this.directory = folder.path;
    this.#remove = folder.remove;
  }

  /** A path in the fleet's folder; its folders are made. */
  path(...parts: string[]): string {
    const path = join(this.directory, ...parts);
    mkdirSync(join(path, ".."), { recursive: true });
    return path;
  }

  /** A fresh copy of the Chinook sample. */
  chinook(...parts: string[]): string {
    const path = this.path(...parts);
    copyFileSync(fileURLToPath(new URL("chinook.sqlite", SAMPLES)), path);
    return path;
  }

  /** A Redis of the fleet's own, or the one REDIS_URL names. */
  async redis(): Promise<Redis> {
    this.#redis ??= await findRedis({ env: childEnvironment(), dataDirectory: this.path("redis", "data") });
    return this.#redis;
  }

  /** A private Redis even where REDIS_URL is set: for tests that stop it or flush it. */
  async privateRedis(): Promise<Redis> {
    this.#redis ??= await findRedis({ env: { ...childEnvironment(), REDIS_URL: undefined }, dataDirectory: this.path("redis", "data") });
    return this.#redis;
  }

  async node(plan: NodePlan): Promise<FleetNode> {
    let peers = plan.peers ?? [];
    let listen = plan.listen ?? `127.0.0.1:${await ownPort()}`;
    const start = async () => {
      const args = ["node", "--name", plan.name, "--listen", listen, "--data", this.path(plan.name, "node-data")];
      for (const [name, path] of Object.entries(plan.databases)) args.push("--db", `${name}=${path}`);
      for (const peer of peers) args.push("--peer", peer);
      if (plan.coordinator !== undefined) args.push("--coordinator", plan.coordinator);
      const baseline = plan.baseline === undefined ? "shared" : plan.baseline;
      if (baseline !== null) args.push("--baseline", baseline);
      const service = await this.#start([...args, ...(plan.flags ?? [])], plan.name, plan.env);
      listen = service.ready.listen;
      return service;
    };
    let current = await start();
    return {
      name: plan.name,
      databases: plan.databases,
      get address() {
        return listen;
      },
      get process() {
        return current;
      },
      restart: async (change) => {
        if (current.running) await current.stop();
        peers = change?.peers ?? peers;
        current = await start();
      },
      kill: async () => void (await current.kill()),
      stop: async () => void (await current.stop()),
    };
  }

  async coordinator({ redis, flags = [] }: { redis?: string; flags?: readonly string[] } = {}): Promise<FleetCoordinator> {
    const url = redis ?? (await this.redis()).url;
    const directory = this.path("coordinator", "registry");
    let listen = `127.0.0.1:${await ownPort()}`;
    let http = `127.0.0.1:${await ownPort()}`;
    const start = async () => {
      const service = await this.#start(
        ["coordinator", "--listen", listen, "--http", http, "--redis", url, "--data", directory, ...flags],
        "coordinator",
      );
      listen = service.ready.listen;
      http = service.ready.http ?? http;
      return service;
    };
    let current = await start();
    return {
      directory,
      get address() {
        return listen;
      },
      get http() {
        return http;
      },
      get process() {
        return current;
      },
      restart: async () => {
        if (current.running) await current.stop();
        current = await start();
      },
      kill: async () => void (await current.kill()),
    };
  }

  /** Any other service, for example a worker. */
  service(args: readonly string[], name: string): Promise<ServiceProcess> {
    return this.#start(args, name);
  }

  /** `scoutsync sync A B --json`. */
  sync(node: FleetNode, peer: FleetNode | string, ...flags: string[]): Promise<CommandResult> {
    return scoutsync(["sync", node.address, typeof peer === "string" ? peer : peer.address, "--json", ...flags]);
  }

  /** Ends everything; `keep` leaves the folder for a look at what went wrong. */
  async stop({ keep = false }: { keep?: boolean } = {}): Promise<void> {
    await Promise.all([...this.#running].map((service) => service.kill()));
    await this.#redis?.stop();
    if (!keep) this.#remove();
  }

  async #start(args: readonly string[], name: string, env: Readonly<Record<string, string>> = {}): Promise<ServiceProcess> {
    const logFile = this.path("logs", `${name}.log`);
    const service = await startService({ args, env: { ...childEnvironment(), ...env }, logFile, readyMs: boundOf(60_000) });
    this.#running.add(service);
    void service.ended.then(() => this.#running.delete(service));
    return service;
  }
}
