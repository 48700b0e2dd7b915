export { startService, type ServiceProcess } from "scoutsync";
export {
  createScoutDatabases,
  ONE_EVENT,
  SAMPLES,
  scoutingJson,
  seededRandom,
  startPrivateRedis,
  type Random,
  type Redis,
  type ScoutSize,
} from "scoutsync";
export * from "./browser.ts";
export * from "./command.ts";
export * from "./dump.ts";
export * from "./environment.ts";
export * from "./fleet.ts";
export * from "./ledger.ts";
export * from "./memory.ts";
export * from "./port.ts";
export * from "./proxy.ts";
export * from "./sqlite.ts";
export * from "./temp.ts";
export * from "./wait.ts";
export * from "./writer.ts";
