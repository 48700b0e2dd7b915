import type { Fault } from "./fault.ts";

const ACCESS = "test/e2e/access.test.ts";
const TEAMS = "test/e2e/two-teams.test.ts";
const SCOPE = "packages/replica/test/scope.test.ts";
const SCOPED_CALLS = "services/sync-node/test/scoped-calls.test.ts";

/** Rules of who may do what, and what is written down of it, broken. */
export const SECURITY_FAULTS: Fault[] = [
  {
    name: "a decision at a node leaves no line in its audit log",
    edits: [[', audited: { about: naming("id", "keep", "decision") } },', " },"]],
    caughtBy: ACCESS,
  },
  {
    name: "anybody is believed for whom they act",
    edits: [['caller.role === "coordinator" ? metadata.get(ACTING_FOR) : []', "metadata.get(ACTING_FOR)"]],
    caughtBy: ACCESS,
  },
  {
    name: "an operator puts out a superadmin",
    edits: [["    ...(mayBe && { mayBe }),\n", ""]],
    caughtBy: ACCESS,
  },
  {
    name: "a viewer reads rows as nodes exchange them",
    edits: [
      [
        'digest: { roles: [...SERVICES, ...OPERATORS], limited: "exchange" },',
        'digest: { roles: [...SERVICES, ...VIEWERS], limited: "exchange" },',
      ],
    ],
    caughtBy: ACCESS,
  },
  {
    name: "where nobody has to be known, nothing is written down",
    edits: [["if (by.role === null ? unlessBy.length > 0 : ", "if (by.role === null ? unlessBy.length >= 0 : "]],
    caughtBy: "services/sync-node/test/calls.test.ts",
  },
  {
    name: "others on the machine read the registry",
    edits: [["    keepFromOthers(path);\n", ""]],
    caughtBy: "services/coordinator/test/logins.test.ts",
  },
  {
    name: "a stream goes on with a key that was revoked",
    edits: [["...(caller.identity === null && { lookAgain }) };", "...(caller.role === undefined && { lookAgain }) };"]],
    caughtBy: ACCESS,
  },
  {
    name: "a stranger fills the disk with refusals",
    edits: [["return own.take(nowMs) && this.#all.take(nowMs);", "return own.take(nowMs) || this.#all.take(nowMs);"]],
    caughtBy: "packages/trust/test/audit.test.ts",
  },
  // What other tests notice sooner is noticed between real processes, too.
  {
    name: "a team's scope shows the rows of all teams",
    edits: [["AS x WHERE ${whole} AND (${own})`);", "AS x WHERE ${whole}`);"]],
    caughtBy: SCOPE,
  },
  {
    name: "a team's scope shows the columns that it leaves out",
    edits: [["asked.columns === null ? present : present.filter", "asked.columns !== undefined ? present : present.filter"]],
    caughtBy: SCOPE,
  },
  {
    name: "what a team's rows refer to brings all rows of that table along",
    edits: [["JOIN main.${quote(parent.name)} AS p ON ${referred}", "JOIN main.${quote(parent.name)} AS p ON ${inScope}"]],
    caughtBy: SCOPE,
  },
  {
    name: "a team's nodes are answered from the whole root of files",
    edits: [["isPart: true, databases, files: files.roots,", "isPart: true, databases,"]],
    caughtBy: TEAMS,
  },
  {
    name: "a team's nodes are told of the parts of other teams",
    edits: [["rowFiles: [], scopes: [] };", "rowFiles: [] };"]],
    caughtBy: TEAMS,
  },
  {
    name: "a team's nodes read what other teams' nodes wrote and the server did not take",
    edits: [
      ["rowFiles: [], scopes: [] };", "rowFiles: [] };"],
      ["  listReviews: { roles: [...SERVICES, ...VIEWERS] },", '  listReviews: { roles: [...SERVICES, ...VIEWERS], limited: "exchange" },'],
    ],
    caughtBy: SCOPED_CALLS,
  },
  {
    name: "a team's nodes are told how full the disk is by what others do",
    edits: [["...(context.isPart !== true && { clock", "...(context.isPart !== undefined && { clock"]],
    caughtBy: SCOPED_CALLS,
  },
  {
    name: "a certificate that another CA signed is taken",
    edits: [["if (!read.checkIssued(this.ca) || !read.verify(this.ca.publicKey)) {", "if (!read.checkIssued(this.ca)) {"]],
    caughtBy: "packages/trust/test/trust.test.ts",
  },
  {
    name: "who was put out is let in",
    edits: [["if (this.#revocations.includes(identity)) {", "if (this.#revocations.version < 0) {"]],
    caughtBy: "packages/trust/test/trust.test.ts",
  },
  {
    name: "a certificate that ran out is taken",
    edits: [["if (now > identity.validUntilMs || now < identity.validFromMs) {", "if (now < identity.validFromMs) {"]],
    caughtBy: "packages/trust/test/trust.test.ts",
  },
  {
    name: "a join code lets in more than one",
    edits: [["renameSync(path, join(used, `${this.#hash(asked.secret)}.json`));", ""]],
    caughtBy: "packages/trust/test/trust.test.ts",
  },
  {
    name: "a list of revoked identities needs no signature",
    edits: [
      ['wire.content.length <= MOST_BYTES && verify("sha256", wire.content, caKey, wire.signature);', "wire.content.length <= MOST_BYTES;"],
    ],
    caughtBy: "packages/trust/test/trust.test.ts",
  },
  {
    name: "who answers may answer as another node",
    edits: [['if (nodeId === "" || (identity.role === "node" && identity.id === nodeId)) return;', "if (identity.id !== nodeId) return;"]],
    caughtBy: "services/sync-node/test/impersonation.test.ts",
  },
  {
    name: "a member may say what another node has",
    edits: [["(identity.id === nodeId || memberKey(identity) === memberKey(own))", '(identity.id !== "" || memberKey(own) !== "")']],
    caughtBy: "services/sync-node/test/impersonation.test.ts",
  },
];
