import { APPLY_FAULTS } from "./apply-faults.ts";
import { CAPTURE_FAULTS } from "./capture-faults.ts";
import { COORDINATOR_FAULTS } from "./coordinator-faults.ts";
import { DRAIN_FAULTS } from "./drain-faults.ts";
import { ENTITY_FAULTS } from "./entity-faults.ts";
import { EXCHANGE_FAULTS } from "./exchange-faults.ts";
import { FILE_FAULTS } from "./file-faults.ts";
import { FORGETTING_FAULTS } from "./forgetting-faults.ts";
import { IDENTITY_FAULTS } from "./identity-faults.ts";
import { ROW_FAULTS } from "./row-faults.ts";
import { SCHEMA_FAULTS } from "./schema-faults.ts";
import { SCOPE_FAULTS } from "./scope-faults.ts";
import { SECURITY_FAULTS } from "./security-faults.ts";
import { SESSION_FAULTS } from "./session-faults.ts";
import type { Fault } from "./fault.ts";

/** Every rule of the product that is broken on purpose; a new one goes to the file of its area. */
export const FAULTS: readonly Fault[] = [
  ...CAPTURE_FAULTS,
  ...DRAIN_FAULTS,
  ...ROW_FAULTS,
  ...APPLY_FAULTS,
  ...ENTITY_FAULTS,
  ...SCHEMA_FAULTS,
  ...FORGETTING_FAULTS,
  ...EXCHANGE_FAULTS,
  ...IDENTITY_FAULTS,
  ...SCOPE_FAULTS,
  ...SESSION_FAULTS,
  ...COORDINATOR_FAULTS,
  ...SECURITY_FAULTS,
  ...FILE_FAULTS,
];
