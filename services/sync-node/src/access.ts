import { SyncNodeService } from "@scoutsync/protocol";
import { accessOf, MEMBERS, OPERATORS, SERVICES, VIEWERS, type CallAccess } from "@scoutsync/trust";

/** Who may make the calls of a node that belongs to a fleet. A call that is missing here does not compile. */
export const NODE_ACCESS: readonly [string, CallAccess][] = accessOf(SyncNodeService, {
  ping: { roles: MEMBERS, limited: "exchange" },
  getChanges: { roles: [...SERVICES, ...VIEWERS], limited: "exchange" },
  // Operators carry bundles; a coordinator passes on what an operator gave it.
  pushChanges: { roles: [...SERVICES, ...OPERATORS], limited: "exchange" },
  digest: { roles: [...SERVICES, ...VIEWERS], limited: "exchange" },
  // Takes the write lock for a moment.
  checkCapture: { roles: ["coordinator", ...OPERATORS] },
  // Has this node dial another one: a node that was taken over must not send others around.
  sync: { roles: ["coordinator", "worker", ...OPERATORS] },
  verify: { roles: ["coordinator", ...OPERATORS] },
  listReviews: { roles: [...SERVICES, ...VIEWERS] },
  resolveReview: { roles: ["coordinator", ...OPERATORS], audited: true },
  getHistory: { roles: [...SERVICES, ...VIEWERS] },
  reissue: { roles: ["coordinator", ...OPERATORS], audited: true },
  listKnownNodes: { roles: [...SERVICES, ...VIEWERS] },
  retireKnownNode: { roles: ["coordinator", ...OPERATORS], audited: true },
  forget: { roles: ["coordinator", ...OPERATORS], audited: true },
  fileChecksums: { roles: [...SERVICES, ...VIEWERS], limited: "exchange" },
  getFile: { roles: [...SERVICES, ...VIEWERS], limited: "exchange" },
  putFile: { roles: [...SERVICES, ...OPERATORS], limited: "exchange" },
  listFiles: { roles: [...SERVICES, ...VIEWERS] },
  fileStatus: { roles: [...SERVICES, ...VIEWERS] },
  forgetFiles: { roles: ["coordinator", ...OPERATORS], audited: true },
  restoreFile: { roles: ["coordinator", ...OPERATORS], audited: true },
  restoreRow: { roles: ["coordinator", ...OPERATORS], audited: true },
});
