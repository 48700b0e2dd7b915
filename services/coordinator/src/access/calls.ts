import { CoordinatorService } from "@scoutsync/protocol";
import { accessOf, OPERATORS, SERVICES, VIEWERS, type CallAccess, type Role } from "@scoutsync/trust";

const WORKERS: readonly Role[] = ["coordinator", "worker"];

/** Who may make the calls of a coordinator that belongs to a fleet. A call that is missing here does not compile. */
export const COORDINATOR_ACCESS: readonly [string, CallAccess][] = accessOf(CoordinatorService, {
  register: { roles: ["node"] },
  heartbeat: { roles: ["node"] },
  listNodes: { roles: [...SERVICES, ...VIEWERS], scope: "fleet" },
  addNode: { roles: OPERATORS, scope: "fleet", audited: true },
  removeNode: { roles: OPERATORS, scope: "fleet", audited: true },
  getStatus: { roles: VIEWERS, scope: "fleet" },
  scan: { roles: OPERATORS, scope: "sync", audited: true },
  catchUp: { roles: OPERATORS, scope: "sync", audited: true },
  listLogs: { roles: VIEWERS, scope: "logs" },
  listJobs: { roles: VIEWERS, scope: "jobs" },
  // Workers read how long to wait for a session.
  getSettings: { roles: [...WORKERS, ...VIEWERS], scope: "config" },
  pauseNode: { roles: OPERATORS, scope: "fleet", audited: true },
  resumeNode: { roles: OPERATORS, scope: "fleet", audited: true },
  retireNode: { roles: OPERATORS, scope: "fleet", audited: true },
  retryJob: { roles: OPERATORS, scope: "jobs", audited: true },
  cancelJob: { roles: OPERATORS, scope: "jobs", audited: true },
  pauseJobs: { roles: OPERATORS, scope: "jobs", audited: true },
  resumeJobs: { roles: OPERATORS, scope: "jobs", audited: true },
  getReliability: { roles: VIEWERS, scope: "fleet" },
  cleanup: { roles: OPERATORS, scope: "logs", audited: true },
  listAlerts: { roles: VIEWERS, scope: "fleet" },
  listFleetReviews: { roles: VIEWERS, scope: "review" },
  resolveFleetReview: { roles: OPERATORS, scope: "review", audited: true },
  // Who may do it depends on what is asked: looked at when that has been read.
  ask: { roles: "anyone" },
  setSetting: { roles: ["superadmin"], scope: "config", audited: true },
  acquireLease: { roles: WORKERS },
  reportSession: { roles: WORKERS },
  watch: { roles: VIEWERS, scope: "fleet" },
});
