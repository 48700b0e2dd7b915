import type { Metadata, Server } from "@grpc/grpc-js";
import { SyncError, toPlainError } from "@scoutsync/core";
import { AccessService, FleetClient, FleetService, unary } from "@scoutsync/protocol";
import type { Logger } from "@scoutsync/runtime";
import {
  type Act,
  type AuditLog,
  dialAs,
  FLEET_ACCESS,
  fleetCalls,
  FleetServerCredentials,
  FOREIGN_CALLS,
  Guard,
  keepRenewed,
  memberKey,
  noteAct,
  putOut,
  type Trust,
} from "@scoutsync/trust";
import { ApiKeys } from "./access/keys.ts";
import { Logins } from "./access/logins.ts";
import { holderOf } from "./access/needs.ts";
import { ACCESS_ACCESS, accessCalls } from "./access/service.ts";
import { accessFor, COORDINATOR_ACCESS } from "./access/calls.ts";
import type { Operation } from "./operations/operation.ts";
import type { AccessStore } from "./registry/access-store.ts";

const REVOKE_MS = 10_000;

interface CallOf {
  getPeer(): string;
  metadata: Metadata;
}

/** What a coordinator does because it belongs to a fleet. */
export class Membership {
  readonly trust: Trust;
  readonly guard: Guard;
  readonly audit: AuditLog;
  readonly credentials: FleetServerCredentials;
  readonly dial;
  readonly keys: ApiKeys;
  readonly logins: Logins;
  readonly #logger: Logger;
  readonly #stopping = new AbortController();

  /** Throws INVALID_ARGUMENT for a data directory that holds the identity of something else. */
  constructor(
    trust: Trust,
    { dataDirectory, audit, store, logger }: { dataDirectory: string; audit: AuditLog; store: AccessStore; logger: Logger },
  ) {
    if (trust.identity.role !== "coordinator") {
      throw new SyncError({
        code: "INVALID_ARGUMENT",
        message: `${dataDirectory} holds the identity of a ${trust.identity.role}, not of a coordinator`,
        action: "Give each service a data directory of its own with --data.",
      });
    }
    this.trust = trust;
    this.#logger = logger;
    this.audit = audit;
    this.guard = new Guard({
      trust,
      audit: this.audit,
      access: new Map([...COORDINATOR_ACCESS, ...ACCESS_ACCESS, ...FLEET_ACCESS, ...FOREIGN_CALLS]),
      keyHolder: (key, scope) => {
        const row = this.keys.holder(key);
        const { role, scopes } = holderOf(row);
        if (scopes !== null && (scope === undefined || !scopes.includes(scope))) throw notForThat(scopes);
        return { role, who: `key:${row.name}`, identity: null };
      },
    });
    this.keys = new ApiKeys(store);
    this.logins = new Logins(store);
    this.credentials = new FleetServerCredentials(trust);
    this.dial = dialAs(trust);
  }

  /** Adds the Fleet service to a server that does not listen yet, and looks at every connection. */
  serve(server: Server): void {
    const { trust, guard, audit } = this;
    server.addService(FleetService, fleetCalls({ trust, guard, audit, logger: this.#logger, stopping: this.#stopping.signal }));
    server.addService(AccessService, accessCalls({ keys: this.keys, logins: this.logins, logger: this.#logger }));
    this.guard.attach(server);
  }

  /** What HTTPS is served with: the certificate of the day. */
  https(): { https: { key: string; cert: string; minVersion: "TLSv1.2" } } {
    const { key, certificate, ca } = this.trust.own;
    return { https: { key, cert: certificate + ca, minVersion: "TLSv1.2" } };
  }

  /** The service listens: codes may name its address, and the certificate is kept valid until `stop`. */
  started(listen: string): void {
    const { trust, dial } = this;
    trust.authority?.servedAt(listen);
    const addresses = trust.contact === null ? [] : [trust.contact.address];
    void keepRenewed({ trust, dial, addresses, logger: this.#logger, signal: this.#stopping.signal });
  }

  stop(): void {
    this.#stopping.abort();
  }

  /** The scope that a caller is limited to by its certificate; null for none. */
  scopeOf(call: { getPeer(): string }): string | null {
    return this.guard.callerOf(call)?.scope ?? null;
  }

  /** Throws FORBIDDEN for a node that says that it is another one. */
  checkClaim(call: { getPeer(): string }, nodeId: string): void {
    const caller = this.guard.callerOf(call);
    if (caller === null || caller.id === nodeId) return;
    this.audit.write({ who: memberKey(caller), what: "claim", outcome: "refused", details: `said to be node/${nodeId.slice(0, 80)}` });
    throw new SyncError({
      code: "FORBIDDEN",
      message: `node ${caller.id} ("${caller.name}") said that it is node ${nodeId.slice(0, 80)}`,
      action: "Start it with the data directory that its certificate is in.",
    });
  }

  /**
   * Throws UNAUTHENTICATED or FORBIDDEN for a caller who may not do this. What changes something is written to the audit log:
   * then this is the act, else null.
   */
  admit(call: CallOf, { id, method, need }: Pick<Operation, "id" | "method" | "need">, input: unknown): Act | null {
    const access = accessFor({ need, method });
    const what = `ask ${id}`;
    const by = this.guard.admit(access, what, call.getPeer(), call.metadata);
    return by === null ? null : noteAct(this.audit, access.audited, by, what, input);
  }

  /**
   * Puts a node out of the fleet: its connections are cut here at once, and wherever this is heard of. A node that was
   * never a member is only forgotten. Throws what the authority answers, or PEER_UNREACHABLE.
   */
  async expel(nodeId: string): Promise<void> {
    const { trust, audit, dial } = this;
    const member = memberKey({ role: "node", id: nodeId });
    try {
      if (trust.authority) {
        putOut(trust, audit, member);
        return;
      }
      const client = dial(trust.contact?.address ?? "", FleetClient);
      try {
        await unary(client, "revoke", { member }, { deadlineMs: REVOKE_MS });
      } finally {
        client.close();
      }
    } catch (error) {
      if (toPlainError(error).code !== "NOT_FOUND") throw error;
    }
  }
}

function notForThat(scopes: readonly string[]): SyncError {
  return new SyncError({
    code: "FORBIDDEN",
    message: `this key is for ${scopes.join(", ")} only`,
    action: "Use a key with another scope, or one without any.",
  });
}
