export { startCoordinator, type CoordinatorService } from "./coordinator.ts";
export { startWorker } from "./worker.ts";
export { DEFAULT_TIMING, type CoordinatorConfig, type Timing, type WorkerConfig } from "./config.ts";
export { planRound, chooseSource, type PlannedSession, type PlannerNode } from "./planner/plan.ts";
export { COORDINATOR_METRICS } from "./http/metric-definitions.ts";
export { OPERATIONS } from "./operations/table.ts";
export type * from "./operations/answers.ts";
export { rpcName, type Operation } from "./operations/operation.ts";
export { SETTING_DEFINITIONS, type SettingDefinition, type SettingKey } from "./registry/setting-definitions.ts";
