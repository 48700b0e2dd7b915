import type { Fault } from "./faults.ts";

const ACCESS = "test/e2e/access.test.ts";

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
];
