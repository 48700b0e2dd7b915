import type { Neighbour } from "@scoutsync/discovery";
import type { Dial } from "@scoutsync/protocol";
import type { Logger } from "@scoutsync/runtime";
import type { Timing } from "./config.ts";
import { Messenger } from "./alerts/messenger.ts";
import { AlertWatch } from "./alerts/watch.ts";
import { Canary } from "./canary/canary.ts";
import { Comparison } from "./canary/comparison.ts";
import { CertificateKeeper } from "./detection/certificate.ts";
import { Fleet } from "./detection/fleet.ts";
import { MissingCounter } from "./detection/missing.ts";
import { NodeClients } from "./detection/node-clients.ts";
import { Prober } from "./detection/probe.ts";
import { FleetEvents } from "./events.ts";
import type { CatchUpQueue } from "./jobs/catch-up-queue.ts";
import { CatchUps } from "./jobs/catch-ups.ts";
import { DialOut } from "./jobs/dial-out.ts";
import type { AuditLog } from "@scoutsync/trust";
import type { Membership } from "./membership.ts";
import { LeaseDesk } from "./jobs/lease-desk.ts";
import type { RedisLink } from "./jobs/redis.ts";
import { ReliabilityKeeper } from "./reliability/keeper.ts";
import type { Registry } from "./registry/registry.ts";

/** The rooms of the coordinator, wired together: what gRPC and HTTP are doors to. */
export interface Core {
  readonly registry: Registry;
  readonly events: FleetEvents;
  readonly clients: NodeClients;
  /** Null where the coordinator belongs to no fleet: then nothing is asked. */
  readonly membership: Membership | null;
  /** Who was refused, and who did what. */
  readonly audit: AuditLog;
  readonly fleet: Fleet;
  readonly prober: Prober;
  readonly missing: MissingCounter;
  readonly certificate: CertificateKeeper;
  readonly desk: LeaseDesk;
  readonly reliability: ReliabilityKeeper;
  readonly catchUps: CatchUps;
  readonly dialOut: DialOut;
  readonly alerts: AlertWatch;
  readonly canary: Canary;
  readonly comparison: Comparison;
  readonly link: RedisLink;
  /** Who is heard on the local network; nobody unless that was asked for. */
  readonly neighbours: () => readonly Neighbour[];
  /** Null until Redis was reached for the first time. */
  readonly queue: () => CatchUpQueue | null;
  readonly timing: Timing;
  readonly logger: Logger;
}

/** Wires the rooms over an open registry and a line to Redis. Starts nothing. */
export function wireCore(parts: {
  registry: Registry;
  link: RedisLink;
  queue: () => CatchUpQueue | null;
  neighbours: () => readonly Neighbour[];
  membership: Membership | null;
  audit: AuditLog;
  dial: Dial;
  timing: Timing;
  logger: Logger;
}): Core {
  const events = new FleetEvents();
  const clients = new NodeClients(parts.dial);
  const fleet = new Fleet(parts.registry, events);
  const reliability = new ReliabilityKeeper(parts);
  const shared = { ...parts, events, clients, fleet, reliability };
  const prober = new Prober(shared);
  const deadlineMs = () => parts.registry.settings.get("connection_timeout") * 1_000;
  const missing = new MissingCounter({ ...shared, deadlineMs });
  const certificate = new CertificateKeeper(shared);
  const desk = new LeaseDesk({ ...shared, prober });
  const catchUps = new CatchUps({ ...shared, prober, missing, desk });
  const dialOut = new DialOut({ ...shared, catchUps, desk, prober });
  const alerts = new AlertWatch({ ...shared, certificate, messenger: new Messenger(shared) });
  const canary = new Canary({ ...shared, alerts });
  const comparison = new Comparison({ ...shared, alerts });
  return { ...shared, prober, missing, certificate, desk, catchUps, dialOut, alerts, canary, comparison };
}
