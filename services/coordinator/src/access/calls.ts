import { CoordinatorService } from "@scoutsync/protocol";
import { accessOf, naming, VIEWERS, type CallAccess, type Role } from "@scoutsync/trust";
import type { Operation } from "../operations/operation.ts";
import type { OperationCall, ServiceCall } from "../operations/rpc.ts";
import { OPERATIONS } from "../operations/table.ts";
import { PERSON_ROLES } from "./needs.ts";

const WORKERS: readonly Role[] = ["coordinator", "worker"];

/** Calls that are no operation of a person. One that is missing here does not compile. */
const SERVICE_ACCESS: Readonly<Record<ServiceCall, CallAccess<object>>> = {
  register: { roles: ["node"], limited: "membership" },
  heartbeat: { roles: ["node"], limited: "membership" },
  acquireLease: { roles: WORKERS },
  reportSession: { roles: WORKERS },
  // Who may do it depends on what is asked: looked at when that has been read.
  ask: { roles: "anyone" },
  watch: { roles: VIEWERS, scope: "fleet" },
};

/** What of an operation's input the audit log quotes: whom and what it is about, never a value. */
const about = naming("node", "server_id", "id", "name", "address", "host", "port", "database", "key", "keep", "decision");

/** What an operation needs of who asks for it by a call; what changes something is audited. */
export function accessFor({ need, method }: Pick<Operation, "need" | "method">, services: readonly Role[] = []): CallAccess<object> {
  const people = PERSON_ROLES.slice(PERSON_ROLES.indexOf(need.role));
  return { roles: [...services, ...people], scope: need.scope, ...(method === "GET" ? {} : { audited: { about } }) };
}

/** Who may make the calls of a coordinator that belongs to a fleet: operations say so in their table. */
export const COORDINATOR_ACCESS: readonly [string, CallAccess][] = accessOf(CoordinatorService, {
  ...SERVICE_ACCESS,
  ...(Object.fromEntries(
    OPERATIONS.flatMap((one) => (one.rpc === null ? [] : [[one.rpc.call, accessFor(one, one.rpc.services)]])),
  ) as Record<OperationCall, CallAccess<object>>),
});
