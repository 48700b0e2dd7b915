import type { Fault } from "./fault.ts";

/** Rules of the coordinator, broken. */
export const COORDINATOR_FAULTS: Fault[] = [
  {
    name: "as many sessions begin at once as are asked for at the same moment",
    edits: [["const opened = ends.length > 1 ? this.#places.open() : () => {};", "const opened = () => {};"]],
    caughtBy: "services/coordinator/test/pacing.test.ts",
  },
  {
    name: "what was asked for by hand ends after one session, whatever is still missing",
    edits: [["      if (demanded || !this.automatic) await this.#goOn([...open], now.busy, demanded);\n", ""]],
    caughtBy: "services/coordinator/test/pacing.test.ts",
  },
  {
    name: "what a node says of one file root twice goes into the registry twice",
    edits: [
      [
        "name.length <= LONGEST_NAME && !known.has(name)) known.set(name, one);",
        "name.length <= LONGEST_NAME) known.set(`${known.size} ${name}`, one);",
      ],
    ],
    caughtBy: "services/coordinator/test/plausible.test.ts",
  },
  {
    name: "text of a database may become markup in the dashboard",
    edits: [["  \"require-trusted-types-for 'script'\",\n", ""]],
    caughtBy: "services/coordinator/test/dashboard-assets.test.ts",
  },
  {
    name: "a row that is kept out is listed once per node",
    edits: [['if (kind === "parked") return JSON.stringify([kind, database, table, key, toJsonColumns(review.image)]);', ""]],
    caughtBy: "services/coordinator/test/http-api.test.ts",
  },
  {
    name: "an incident is told at every look",
    edits: [
      [
        "this.#mark.run(id, channel, phase, now.toISOString());",
        "this.#mark.run(id, channel, `${phase} ${now.toISOString()}`, now.toISOString());",
      ],
    ],
    caughtBy: "services/coordinator/test/alerts.test.ts",
  },
  {
    name: "an incident is over when nobody looks at it",
    edits: [["const still = byKey.get(key);", "const still = open.server_id === null ? byKey.get(key) : undefined;"]],
    caughtBy: "services/coordinator/test/alerts.test.ts",
  },
  {
    name: "the canary trusts what was captured",
    edits: [["[await ask(table, false), await ask(table, true)]", "[await ask(table, false), await ask(table, false)]"]],
    caughtBy: "services/coordinator/test/canary.test.ts",
  },
  {
    name: "the canary leaves out nodes that it cannot dial",
    edits: [
      [
        "if (node.enabled && node.online && !node.reachable) this.#due.set",
        "if (node.enabled && node.online && node.reachable) this.#due.set",
      ],
    ],
    caughtBy: "services/coordinator/test/canary.test.ts",
  },
  {
    name: "those who watch are not told that a short session is over",
    edits: [['this.#nodes.get(id)?.set("session", JSON.stringify(session));', 'this.#nodes.get(id)?.set("session", "null");']],
    caughtBy: "services/coordinator/test/fleet-changes.test.ts",
  },
  {
    name: "a node that can only dial out is not told to when it holds other files",
    edits: [
      [
        "return apart.find(hasAllFiles) ?? apart[0] ?? null;",
        "return (node.limited ? apart.find(hasAllFiles) ?? apart[0] : undefined) ?? null;",
      ],
    ],
    caughtBy: "services/coordinator/test/real-nodes.test.ts",
  },
  {
    name: "a job cancelled by hand is there again at once",
    edits: [['this.#registry.servers.update(job.serverId, { failures, last_error: "Cancelled by hand" });', ""]],
    caughtBy: "services/coordinator/test/http-api.test.ts",
  },
  {
    name: "what a node holds for others is what it lacks",
    edits: [["const common = intersection(sources);", "const common = union(sources);"]],
    caughtBy: "services/coordinator/test/http-api.test.ts",
  },
  {
    name: "nobody is behind for its files",
    edits: [
      [
        "if (!node.limited) return lacks(node, all) || node.files.some(({ root }) => apart.has(root)) || wantsFiles(node, nodes);",
        "if (!node.limited) return lacks(node, all) && apart.size >= 0;",
      ],
    ],
    caughtBy: "services/coordinator/test/real-nodes.test.ts",
  },
  {
    name: "a node that was heard and could not be dialled is never dialled again",
    edits: [["return !reachable && Date.now() - triedMs > afterMs;", "return !reachable && triedMs < 0 && afterMs > 0;"]],
    caughtBy: "services/coordinator/test/fleet.test.ts",
  },
  {
    name: "the coordinator trusts its memory when another process has written",
    edits: [["this.#cached === null || this.#cached.outside !== outside", "this.#cached === null || this.#cached.outside > outside"]],
    caughtBy: "services/coordinator/test/registry.test.ts",
  },
  {
    name: "the coordinator remembers what was rolled back",
    edits: [["const undone = () => servers.reread();", "const undone = () => void servers.list();"]],
    caughtBy: "services/coordinator/test/registry.test.ts",
  },
  {
    name: "what was undone in a shared commit counts as done",
    edits: [["for (const waiting of good) waiting.done();", "for (const waiting of group) waiting.done();"]],
    caughtBy: "services/coordinator/test/registry.test.ts",
  },
  {
    name: "a restored database is nobody that lacks anything",
    edits: [["if (isRestored !== 0) restored.set(name, vector);", 'if (isRestored !== 0 && problem === "") restored.set(name, vector);']],
    caughtBy: "services/coordinator/test/leases.test.ts",
  },
  {
    name: "a restored database is a source like any other",
    edits: [["if (isRestored !== 0) restored.set(name, vector);", "if (isRestored !== 0) vectors.set(name, vector);"]],
    caughtBy: "services/coordinator/test/leases.test.ts",
  },
  {
    name: "a node whose worker was killed gets its next session by chance",
    edits: [["(this.#kept.has(serverId) ? 0 : this.#countKept())", "0"]],
    caughtBy: "services/coordinator/test/session-places.test.ts",
  },
  {
    name: "a session that never ends gives way to nobody",
    edits: [["const over = leases.filter((lease) => ran(lease) >= 1)", "const over = leases.filter((lease) => ran(lease) >= TURNS_ALONE)"]],
    caughtBy: "services/coordinator/test/pacing.test.ts",
  },
  {
    name: "giving way costs an attempt although something came",
    edits: [
      ["if (gain(now.node, began.source) < missing ||", "if (gain(now.node, began.source) < 0 ||"],
      ["return done > 1n && done <=", "return done > 1n && done < 0n && done <="],
    ],
    caughtBy: "services/coordinator/test/pacing.test.ts",
  },
  {
    name: "jobs that do not parse hold up their nodes",
    edits: [["      await queue()?.mend();\n", ""]],
    caughtBy: "services/coordinator/test/hostile-node.test.ts",
  },
  {
    name: "a file root whose digest is that of others lacks nothing",
    edits: [["(there.digest !== digest || pending > 0)", "there.digest !== digest"]],
    caughtBy: "services/coordinator/test/leases.test.ts",
  },
  {
    name: "a session that was reported twice counts twice",
    edits: [["if (leases.get(lease_id) === null) return false;", 'if (lease_id === "") return false;']],
    caughtBy: "services/coordinator/test/leases.test.ts",
  },
  {
    name: "those who watch are not told of a node that changed",
    edits: [
      ["filter(([field, text]) => told.get(field) !== text)", 'filter(([field, text]) => told.get(field) !== text && field !== "session")'],
    ],
    caughtBy: "services/coordinator/test/fleet-changes.test.ts",
  },
];
