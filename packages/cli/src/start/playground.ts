import { mkdirSync } from "node:fs";
import { join } from "node:path";
import { pause, type Service } from "@scoutsync/runtime";
import { startService, type ServiceProcess } from "../processes/service-process.ts";
import { findRedis } from "../redis/find.ts";
import type { Redis } from "../redis/child.ts";
import { choosePort } from "./ports.ts";
import { sampleDatabases, type SampleDatabase } from "./sample-databases.ts";
import { whatToTry } from "./what-to-try.ts";

const COORDINATOR_PORT = 7070;
const HTTP_PORT = 8080;
const FIRST_NODE_PORT = 7071;
const NODE_NAMES = ["pits", "stands", "judges"] as const;
/** Long enough to look at a fleet that misses one, when someone kills a node to see what happens. */
const RESTART_PAUSE_MS = 10_000;

export interface PlaygroundOptions {
  directory: string;
  env: Readonly<Record<string, string | undefined>>;
  say: (line?: string) => void;
  /** Settles when the person has had enough, also while things are still starting. */
  stopped: Promise<void>;
}

export interface PlaygroundNode {
  name: string;
  address: string;
  databases: SampleDatabase[];
  process: ServiceProcess;
}

/** Starts Redis, a coordinator and three nodes on sample databases, each in a process of its own. */
export async function startPlayground({ directory, env, say, stopped }: PlaygroundOptions): Promise<Service> {
  const logs = join(directory, "logs");
  mkdirSync(logs, { recursive: true });
  const ending = new AbortController();
  void stopped.then(() => ending.abort());
  const services: ServiceProcess[] = [];
  let redis: Redis | null = null;
  const stop = async () => {
    ending.abort();
    // Nodes first, so that nobody calls a coordinator that is already gone.
    for (const service of services.toReversed()) await service.stop();
    await redis?.stop();
  };

  try {
    redis = await findRedis({ env, dataDirectory: join(directory, "redis"), say });
    const address = `127.0.0.1:${await choosePort(COORDINATOR_PORT, "the coordinator", say)}`;
    const http = `127.0.0.1:${await choosePort(HTTP_PORT, "its HTTP side", say)}`;
    const coordinatorArgs = [
      "coordinator",
      "--listen",
      address,
      "--http",
      http,
      "--redis",
      redis.url,
      "--data",
      join(directory, "coordinator"),
    ];
    const keep = (name: string, args: string[]) => keepRunning(name, args);
    services.push(await keep("coordinator", coordinatorArgs));

    const nodes: PlaygroundNode[] = [];
    for (const [at, name] of NODE_NAMES.entries()) {
      if (ending.signal.aborted) break;
      const databases = sampleDatabases(join(directory, name));
      const listen = `127.0.0.1:${await choosePort(FIRST_NODE_PORT + at, `node ${name}`, say)}`;
      const args = ["node", "--name", name, "--listen", listen, "--coordinator", address, "--baseline", "shared"];
      args.push("--data", join(directory, name, "node"), ...databases.flatMap((one) => ["--db", `${one.name}=${one.path}`]));
      const process = await keep(name, args);
      services.push(process);
      nodes.push({ name, address: process.ready.listen, databases, process });
    }
    if (!ending.signal.aborted) {
      for (const line of whatToTry({ nodes, coordinator: address, http, redis, isDefault: address.endsWith(`:${COORDINATOR_PORT}`), logs }))
        say(line);
    }
  } catch (error) {
    await stop();
    throw error;
  }
  return { stop };

  async function keepRunning(name: string, args: string[]): Promise<ServiceProcess> {
    const service = await startService({ args, env, logFile: join(logs, `${name}.log`) });
    void service.ended.then(async ({ code, signal }) => {
      if (ending.signal.aborted) return;
      say(
        `\n${name} has ended (${signal ?? `exit code ${String(code)}`}); it starts again in ${RESTART_PAUSE_MS / 1000} s. Its log: ${join(logs, `${name}.log`)}`,
      );
      await pause(RESTART_PAUSE_MS, ending.signal);
      if (ending.signal.aborted) return;
      try {
        const again = await keepRunning(name, args);
        services[services.indexOf(service)] = again;
        say(`${name} is back (process ${again.pid}).`);
      } catch (error) {
        say(`${name} does not start again: ${error instanceof Error ? error.message : String(error)}`);
      }
    });
    return service;
  }
}
