import { SyncNodeService } from "@scoutsync/protocol";
import { accessOf, MEMBERS, naming, namingUnlessDry, OPERATORS, SERVICES, VIEWERS, type CallAccess } from "@scoutsync/trust";

/** Who may make the calls of a node that belongs to a fleet, and which of them are written down. A call that is missing here does not compile. */
export const NODE_ACCESS: readonly [string, CallAccess][] = accessOf(SyncNodeService, {
  ping: { roles: MEMBERS, limited: "exchange" },
  getChanges: { roles: [...SERVICES, ...VIEWERS], limited: "exchange" },
  pushChanges: {
    // Operators carry bundles; a coordinator passes on what an operator gave it.
    roles: [...SERVICES, ...OPERATORS],
    limited: "exchange",
    audited: {
      unlessBy: ["node"],
      about: ({ kind }) =>
        kind?.$case === "open" ? `into database ${kind.value.database.slice(0, 80)}, from ${kind.value.name.slice(0, 80)}` : "",
    },
  },
  // Rows as they are exchanged, sensitive columns too: nobody looks at those.
  digest: { roles: [...SERVICES, ...OPERATORS], limited: "exchange" },
  // Takes the write lock for a moment, and makes capture whole where it is not.
  checkCapture: { roles: ["coordinator", ...OPERATORS], audited: { unlessBy: ["coordinator"], about: naming("database") } },
  // Has this node dial another one: a node that was taken over must not send others around.
  sync: {
    roles: ["coordinator", "worker", ...OPERATORS],
    audited: { unlessBy: ["coordinator", "worker"], about: namingUnlessDry("peer", "databases", "pullOnly") },
  },
  verify: {
    roles: ["coordinator", ...OPERATORS],
    audited: { about: (request) => (request.repair ? naming("peer", "databases", "repair")(request) : null) },
  },
  listReviews: { roles: [...SERVICES, ...VIEWERS] },
  resolveReview: { roles: ["coordinator", ...OPERATORS], audited: { about: naming("id", "keep", "decision") } },
  getHistory: { roles: [...SERVICES, ...VIEWERS] },
  reissue: { roles: ["coordinator", ...OPERATORS], audited: { about: naming("database") } },
  listKnownNodes: { roles: [...SERVICES, ...VIEWERS] },
  retireKnownNode: { roles: ["coordinator", ...OPERATORS], audited: { about: naming("database", "node") } },
  forget: { roles: ["coordinator", ...OPERATORS], audited: { about: namingUnlessDry("database") } },
  fileChecksums: { roles: [...SERVICES, ...VIEWERS], limited: "exchange" },
  getFile: { roles: [...SERVICES, ...VIEWERS], limited: "exchange" },
  putFile: {
    roles: [...SERVICES, ...OPERATORS],
    limited: "exchange",
    audited: {
      unlessBy: ["node"],
      about: ({ kind }) =>
        kind?.$case === "open" ? `into root ${kind.value.root.slice(0, 80)}, from ${kind.value.name.slice(0, 80)}` : "",
    },
  },
  listFiles: { roles: [...SERVICES, ...VIEWERS] },
  fileStatus: { roles: [...SERVICES, ...VIEWERS] },
  forgetFiles: { roles: ["coordinator", ...OPERATORS], audited: { about: namingUnlessDry("root") } },
  restoreFile: { roles: ["coordinator", ...OPERATORS], audited: { about: naming("root", "path", "sha256") } },
  // A key may be a value that stands in no log.
  restoreRow: { roles: ["coordinator", ...OPERATORS], audited: { about: naming("database", "table") } },
});
