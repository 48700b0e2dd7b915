export { run } from "./run.ts";
export { ExitCode } from "./exit.ts";
export type { Surroundings } from "./surroundings.ts";
export { findRedis } from "./redis/find.ts";
export { startPrivateRedis, type Redis } from "./redis/child.ts";
export { createScoutDatabases, ONE_EVENT, SAMPLES, scoutingJson, type ScoutSize } from "./samples/scout.ts";
export { seededRandom, type Random } from "./samples/random.ts";
export { startService, type Ending, type ReadyLine, type ServiceProcess } from "./processes/service-process.ts";
