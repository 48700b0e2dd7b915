import { ALERT_OPERATIONS } from "./alerts.ts";
import { CLEANUP_OPERATIONS } from "./cleanup.ts";
import { CONTRACT_OPERATIONS } from "./contract.ts";
import { FILE_OPERATIONS } from "./files.ts";
import { FLEET_OPERATIONS } from "./fleet.ts";
import { JOB_OPERATIONS } from "./jobs.ts";
import { LOG_OPERATIONS } from "./logs.ts";
import { NODE_OPERATIONS } from "./nodes.ts";
import type { Operation } from "./operation.ts";
import { RETIRE_OPERATIONS } from "./retire.ts";
import { RELAY_OPERATIONS } from "./relay.ts";
import { REVIEW_OPERATIONS } from "./reviews.ts";
import { SETTING_OPERATIONS } from "./settings.ts";

/** Everything that can be asked of the coordinator over HTTP: its routes and its OpenAPI document are made from it. */
export const OPERATIONS: readonly Operation[] = [
  ...FLEET_OPERATIONS,
  ...NODE_OPERATIONS,
  ...RETIRE_OPERATIONS,
  ...JOB_OPERATIONS,
  ...REVIEW_OPERATIONS,
  ...LOG_OPERATIONS,
  ...ALERT_OPERATIONS,
  ...SETTING_OPERATIONS,
  ...CLEANUP_OPERATIONS,
  ...CONTRACT_OPERATIONS,
  ...RELAY_OPERATIONS,
  ...FILE_OPERATIONS,
];
